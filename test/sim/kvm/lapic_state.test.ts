import { expect, test } from 'vitest';
import {
  kvm_apic_get_state,
  kvm_apic_set_state,
  kvm_vcpu_ioctl_get_lapic,
  kvm_vcpu_ioctl_set_lapic,
} from '#sim/kvm/lapic/state.ts';
import { APIC_ICR, APIC_ICR2, APIC_ID, APIC_IRR, APIC_SPIV } from '#sim/state/apicdef.ts';
import { timerMode } from '#sim/state/timer.ts';
import { does, machineWith } from './lapic_machine.ts';

const word = (offset: number): number => offset / 4;

test('user space sees the ID of x2APIC mode shifted, and the ICR in two registers', () => {
  const m = machineWith({ apics: [{ id: 7, mode: 'x2apic' }] });
  const { apic } = m.vcpu[0]!;
  apic.icr = 0x41;
  apic.icr_high = 0x99;
  const page = does(m, kvm_apic_get_state(m, 0));
  expect([page[word(APIC_ID)], page[word(APIC_ICR)]]).toEqual([0x0700_0000, 0x41]);
  expect(page[word(APIC_ICR2)]).toBe(0x99);
  page[word(APIC_ICR2)] = 0x55;
  expect(does(m, kvm_apic_set_state(m, 0, page))).toBe(0);
  expect([apic.id, apic.icr_high]).toEqual([7, 0x55]);
});

test('an ID that is refused has changed the enable bit all the same', () => {
  const m = machineWith({ apics: [{ id: 7, mode: 'x2apic' }], vm: { x2apic32bitIds: true } });
  const page = does(m, kvm_apic_get_state(m, 0));
  page[word(APIC_ID)] = 8;
  page[word(APIC_SPIV)] = 0xff;
  expect(does(m, kvm_apic_set_state(m, 0, page))).toBe(-22);
  expect([m.vcpu[0]!.apic.sw_enabled, m.vcpu[0]!.apic.id]).toEqual([false, 7]);
});

test('what was posted is in the page that migrates, and gone where a page is restored', () => {
  const m = machineWith({ enableApicv: true });
  const { pi_desc, apic } = m.vcpu[0]!;
  const before = does(m, kvm_vcpu_ioctl_get_lapic(m, 0))!;
  pi_desc.pir.set(0x41);
  pi_desc.on = true;
  const page = does(m, kvm_vcpu_ioctl_get_lapic(m, 0))!;
  expect(page[word(APIC_IRR + 0x20)]).toBe(2);
  pi_desc.pir.set(0x42);
  expect(does(m, kvm_vcpu_ioctl_set_lapic(m, 0, before))).toBe(0);
  expect([pi_desc.pir.any(), apic.irr.any()]).toEqual([false, false]);
});

test('a restored timer goes on where it was', () => {
  const m = machineWith();
  const { apic } = m.vcpu[0]!;
  const page = does(m, kvm_apic_get_state(m, 0));
  page[word(0x320)] = timerMode.ONESHOT | 0x40;
  page[word(0x380)] = 1000;
  page[word(0x390)] = 250;
  m.vm.now = 100;
  does(m, kvm_apic_set_state(m, 0, page));
  expect([apic.lapic_timer.expires, apic.lapic_timer.period, apic.tmcct]).toEqual([600, 2000, 0]);
});
