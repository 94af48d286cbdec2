// Accesses that KVM makes for the guest: where memory ends and a device begins.

import { expect, test } from 'vitest';
import { vm_munmap } from '#sim/host/mm.ts';
import { x86_emulate_instruction } from '#sim/kvm/emulate.ts';
import { hvaOfGuestPage } from '#sim/state/addresses.ts';
import type { Program } from '#sim/state/program.ts';
import { kvmExit } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, complete, smallMachine } from '../small_machine.ts';

const program: Program = [{ op: 'write', operands: [0x1008, 7] }];

/** The guest stands at a store to page 1, which KVM does for it once `change` is done. */
const exitBehind = (change: (m: Machine) => void): number => {
  const m = smallMachine({ memoryPages: 2, slotPages: 1, programs: { vcpu0: program } });
  change(m);
  complete(m, 'vcpu0', () => x86_emulate_instruction(m, 0, program));
  return m.vcpu[0]!.exit_reason;
};

test('a store goes to memory, but not to that of a slot that is going, or of none', () => {
  const goes = (m: Machine): void =>
    byHand(m, () => {
      m.vm.memslot.find(({ id }) => id === 1)!.invalid = true;
    });
  const unmapped = (m: Machine): void => complete(m, 'mm', () => vm_munmap(m, hvaOfGuestPage(1)));
  expect(exitBehind(() => undefined)).toBe(kvmExit.NONE);
  expect([exitBehind(goes), exitBehind(unmapped)]).toEqual([kvmExit.MMIO, kvmExit.MMIO]);
});
