import { expect, test } from 'vitest';
import { kvm_lapic_reset } from '#sim/kvm/lapic/reset.ts';
import { quirk } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { does, machineWith } from './lapic_machine.ts';

/** An APIC that has been used. */
const used = (m: Machine): Machine => {
  const { apic, pi_desc, apic_attention } = m.vcpu[0]!;
  apic.tpr = 0x40;
  apic.lvt1 = 0x41;
  for (const set of [apic.irr, apic.isr, apic.tmr, pi_desc.pir]) set.set(0x51);
  pi_desc.on = true;
  apic_attention.set(0);
  return m;
};

test('INIT keeps mode and ID, and forgets the rest', () => {
  const m = used(machineWith({ apics: [{ id: 5, mode: 'x2apic' }] }));
  does(m, kvm_lapic_reset(m, 0, true));
  const { apic, pi_desc, apic_base, apic_attention } = m.vcpu[0]!;
  expect([apic_base, apic.id, apic.ldr]).toEqual([0xfee0_0c00, 5, 0x20]);
  expect([apic.tpr, apic.lvt1, apic.spiv, apic.sw_enabled]).toEqual([0, 0x1_0000, 0xff, false]);
  expect([apic.irr, apic.isr, apic.tmr, pi_desc.pir].some((set) => set.any())).toBe(false);
  expect([pi_desc.on, apic_attention.any()]).toEqual([false, false]);
});

test('RESET brings the APIC back to xAPIC mode, at the usual address', () => {
  const m = used(machineWith({ apics: [{ id: 0, mode: 'x2apic' }] }));
  does(m, kvm_lapic_reset(m, 0, false));
  expect([m.vcpu[0]!.apic_base, m.vcpu[0]!.apic.id]).toEqual([0xfee0_0900, 0]);
  expect([m.vcpu[0]!.apic.ldr, m.vcpu[0]!.apic.dfr]).toEqual([0, 0xffff_ffff]);
});

test('LVT0 of the boot processor takes ExtINT, unless the quirk is off', () => {
  const m = machineWith();
  does(m, kvm_lapic_reset(m, 0, false));
  expect(m.vcpu[0]!.apic.lvt0).toBe(0x700);
  m.vm.disabled_quirks.set(quirk.LINT0_REENABLED);
  does(m, kvm_lapic_reset(m, 0, false));
  expect(m.vcpu[0]!.apic.lvt0).toBe(0x1_0000);
});
