// The program of a guest: its handlers, each with loops of its own, and where each part ends.

import { expect, test } from 'vitest';
import { handlerOf, instructionAt, smiHandlerOf } from '#sim/hw/guest_program.ts';
import type { Instruction, Program } from '#sim/state/program.ts';
import { runText } from '../scenario_run.ts';

const plain = (op: string): Instruction => ({ op, operands: [] }) as Instruction;
const opAt = (program: Program, pc: number): string | undefined => instructionAt(program, pc)?.op;

test('each part ends where the next one begins, and what is missing is the usual', () => {
  const bare = [plain('pause')];
  expect([opAt(bare, 1), opAt(bare, handlerOf(bare)), opAt(bare, smiHandlerOf(bare))]).toEqual([
    undefined,
    'eoi',
    'rsm',
  ]);
  const whole = ['pause', 'handler', 'iret', 'smi-handler', 'cli', 'rsm'].map(plain);
  expect([opAt(whole, 1), opAt(whole, 3)]).toEqual([undefined, undefined]);
  expect([handlerOf(whole), smiHandlerOf(whole)]).toEqual([2, 4]);
  const smiOnly = ['pause', 'smi-handler', 'rsm'].map(plain);
  expect([opAt(smiOnly, 1), opAt(smiOnly, handlerOf(smiOnly))]).toEqual([undefined, 'eoi']);
});

test('a handler that loops leaves the loop that it interrupts where it was', () => {
  const { machine, steps } = runText(`
    scenario "loops"
    machine { vcpus 1  interrupts on }
    vcpu0 {
      repeat 3 { repeat 2 { pause } }
      handler      repeat 4 { cli } eoi iret
      smi-handler  repeat 5 { mov-from-cr8 } rsm
    }
    dev { msi 0x41 vcpu0  write-msi 0xfee00000 0x200 }
    schedule {
      vcpu0 to guestInstruction "PAUSE"
      dev   through kvm_set_msi
      vcpu0 to guestInstruction "CLI"
      dev   on
    }`);
  const labels = steps().map(({ label }) => label);
  const count = (label: string): number => labels.filter((one) => one === label).length;
  expect([count('PAUSE'), count('CLI'), count('MOV from CR8')]).toEqual([6, 4, 5]);
  expect([machine.vcpu[0]!.guest.delivered_count, machine.vcpu[0]!.guest.smis]).toEqual([1, 1]);
});
