import { expect, test } from 'vitest';
import { kvm_arch_vcpu_ioctl_set_guest_debug } from '#sim/kvm/guest_debug.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { complete, smallMachine } from '../small_machine.ts';

const ENABLE = 1;
const BLOCKIRQ = 0x10_0000;

const debug = (m: Machine, vcpu: number, control: number): void => {
  complete(m, `vcpu${vcpu}`, () => kvm_arch_vcpu_ioctl_set_guest_debug(m, vcpu, control));
};
const inhibits = (m: Machine): boolean =>
  m.vm.apicv_inhibit_reasons.has(apicvInhibitReason.BLOCKIRQ);

test('APICv is inhibited while one vCPU holds its interrupts back', () => {
  const m = smallMachine({ vcpus: 2 });
  const seen = [0, 1].map((vcpu) => {
    debug(m, vcpu, ENABLE | BLOCKIRQ);
    return inhibits(m);
  });
  debug(m, 0, ENABLE);
  seen.push(inhibits(m));
  debug(m, 1, 0);
  expect([...seen, inhibits(m)]).toEqual([true, true, true, false]);
});

test('BLOCKIRQ without ENABLE means nothing', () => {
  const m = smallMachine();
  debug(m, 0, BLOCKIRQ);
  expect([m.vcpu[0]!.guest_debug_blockirq, inhibits(m)]).toEqual([false, false]);
});

test('without APICv there is no reason to give', () => {
  const m = smallMachine({ enableApicv: false });
  debug(m, 0, ENABLE | BLOCKIRQ);
  expect([m.vcpu[0]!.guest_debug_blockirq, inhibits(m)]).toEqual([true, false]);
});
