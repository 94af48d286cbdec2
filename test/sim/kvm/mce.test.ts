import { expect, test } from 'vitest';
import { kvm_vcpu_x86_set_ucna } from '#sim/kvm/mce.ts';
import { does, machineWith } from './lapic_machine.ts';

const inject = (lvtCmci: boolean): boolean => {
  const m = machineWith({ apics: [{ lvtCmci, interrupts: true }] });
  const { apic } = m.vcpu[0]!;
  apic.lvtcmci = 0xa9;
  does(m, kvm_vcpu_x86_set_ucna(m, 0));
  return apic.irr.has(0xa9);
};

test('an error that needs no action comes as LVT CMCI says, if there is such an entry', () => {
  expect([inject(true), inject(false)]).toEqual([true, false]);
});
