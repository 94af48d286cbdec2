import { expect, test } from 'vitest';
import { kvm_apic_set_base } from '#sim/kvm/lapic/base.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { does, machineWith, type Wishes } from './lapic_machine.ts';

const disabled = 0xfee0_0100;
const xapic = 0xfee0_0900;
const x2apic = 0xfee0_0d00;

const setBase = (m: Machine, low: number, host = false): number =>
  does(m, kvm_apic_set_base(m, 0, low, 0, host));

test('the guest changes modes along their edges only, user space as it likes', () => {
  const inMode = (mode: 'disabled' | 'xapic' | 'x2apic'): Machine =>
    machineWith({ apics: [{ mode }] });
  expect(setBase(inMode('disabled'), x2apic)).toBe(1);
  expect(setBase(inMode('x2apic'), xapic)).toBe(1);
  expect(setBase(inMode('disabled'), xapic)).toBe(0);
  expect(setBase(inMode('xapic'), x2apic)).toBe(0);
  expect(setBase(inMode('x2apic'), disabled)).toBe(0);
  expect(setBase(inMode('disabled'), x2apic, true)).toBe(0);
});

test('reserved bits are refused, from user space too', () => {
  const refused = (low: number, high: number, wishes: Wishes = {}): number => {
    const m = machineWith(wishes);
    return does(m, kvm_apic_set_base(m, 0, low, high, true));
  };
  expect(refused(xapic + 1, 0)).toBe(1);
  expect(refused(xapic, 2 ** 14)).toBe(1);
  expect(refused(xapic, 2 ** 14, { vm: { maxphyaddr: 52 } })).toBe(0);
  expect(refused(x2apic, 0, { vm: { x2apicCpuid: false } })).toBe(1);
});

test('x2APIC mode gives the APIC its 32-bit ID and the LDR that belongs to it', () => {
  const m = machineWith({ apics: [{ id: 0x1234 }] });
  setBase(m, 0xfee0_0c00);
  expect([m.vcpu[0]!.apic.id, m.vcpu[0]!.apic.ldr]).toEqual([0x1234, 0x123_0010]);
  expect(m.vcpu[0]!.requests.has(KVM_REQ.APICV_UPDATE)).toBe(true);
});

test('a window at another address inhibits APICv for good', () => {
  const m = machineWith({ enableApicv: true });
  setBase(m, 0x1000_0900);
  expect(m.vcpu[0]!.apic.base_address).toBe(0x1000_0000);
  setBase(m, xapic);
  expect(m.vm.apicv_inhibit_reasons.has(apicvInhibitReason.APIC_BASE_MODIFIED)).toBe(true);
});

test('the address of the window is kept whole: one above 4 GiB is another one', () => {
  const m = machineWith({ enableApicv: true });
  does(m, kvm_apic_set_base(m, 0, xapic, 8, true));
  expect(m.vcpu[0]!.apic_base).toBe(8 * 2 ** 32 + xapic);
  expect(m.vcpu[0]!.apic.base_address).toBe(8 * 2 ** 32 + 0xfee0_0000);
  expect(m.vm.apicv_inhibit_reasons.has(apicvInhibitReason.APIC_BASE_MODIFIED)).toBe(true);
});
