import { expect, test } from 'vitest';
import { guestInstruction } from '#sim/hw/guest_instructions.ts';
import type { Op, Program } from '#sim/state/program.ts';
import { exitReason } from '#sim/state/vmcs.ts';
import { does, machineWith } from '../kvm/lapic_machine.ts';

/** The counts after the guest, which has read a value, compares it. */
const compared = (value: number, op: Op, ...operands: number[]): number[] => {
  const m = machineWith({});
  const { guest } = m.vcpu[0]!;
  guest.value = value;
  const program: Program = [{ op, operands }];
  const reason = does(m, guestInstruction(m, 0, program, program[0]));
  expect([reason, m.actor[0]!.pc, guest.value]).toEqual([exitReason.NONE, 1, value]);
  return [guest.verified, guest.mismatches];
};

test('verify counts whether the last read gave the value', () => {
  expect(compared(0xfee0_0900, 'verify', 0xfee0_0900)).toEqual([1, 0]);
  expect(compared(0xfee0_0900, 'verify', 0xfee0_0901)).toEqual([0, 1]);
});

test('verify-between includes both ends', () => {
  const between = (value: number): number[] => compared(value, 'verify-between', 0x10, 0x1f);
  expect([0xf, 0x10, 0x1f, 0x20].map(between)).toEqual([
    [0, 1],
    [1, 0],
    [1, 0],
    [0, 1],
  ]);
});
