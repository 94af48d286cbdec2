import { expect, test } from 'vitest';
import { pteOf } from '#sim/host/page_table.ts';
import { readBytes, writeBytes } from '#sim/hw/memory.ts';
import { kvm_lapic_set_tpr, update_cr8_intercept } from '#sim/kvm/lapic/tpr.ts';
import {
  kvm_lapic_set_pv_eoi,
  kvm_lapic_set_vapic_addr,
  kvm_lapic_sync_from_vapic,
  kvm_lapic_sync_to_vapic,
} from '#sim/kvm/lapic/vapic.ts';
import { hvaOfGuestPage } from '#sim/state/addresses.ts';
import { apicAttention } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand } from '../small_machine.ts';
import { does, machineWith, type Wishes } from './lapic_machine.ts';

const byte = 0x200;

/** The frame of the only page of guest memory, −1 before it was touched. */
const frameOf = (m: Machine): number => m.pte[pteOf(m, hvaOfGuestPage(0))]!.pfn;
const byteOf = (m: Machine): number => (frameOf(m) < 0 ? 0 : readBytes(m, frameOf(m), byte, 1));

/** A guest that may skip EOI writes, with one vector in service. */
const serving = (vector: number, wishes: Wishes = {}): Machine => {
  const m = machineWith(wishes);
  const { apic } = m.vcpu[0]!;
  does(m, kvm_lapic_set_pv_eoi(m, 0, byte + 1));
  apic.isr.set(vector);
  if (apic.apicv_active) return m;
  apic.isr_count = 1;
  apic.highest_isr_cache = vector;
  return m;
};

test('a guest that cleared the byte has ended its interrupt without an exit', () => {
  const m = serving(0x41);
  const { apic, apic_attention } = m.vcpu[0]!;
  does(m, kvm_lapic_sync_to_vapic(m, 0));
  expect([byteOf(m) === 1, apic_attention.has(apicAttention.PV_EOI_PENDING)]).toEqual([true, true]);
  byHand(m, () => writeBytes(m, frameOf(m), byte, 1, 0));
  does(m, kvm_lapic_sync_from_vapic(m, 0));
  expect([apic.isr.any(), apic_attention.any()]).toEqual([false, false]);
});

test('a guest that left the byte alone has ended nothing', () => {
  const m = serving(0x41);
  does(m, kvm_lapic_sync_to_vapic(m, 0));
  does(m, kvm_lapic_sync_from_vapic(m, 0));
  expect([m.vcpu[0]!.apic.isr.has(0x41), byteOf(m)]).toEqual([true, 0]);
});

test('the byte is never set with APICv, nor for a vector of the IOAPIC', () => {
  const armed = (m: Machine): boolean => {
    does(m, kvm_lapic_sync_to_vapic(m, 0));
    return byteOf(m) === 1;
  };
  expect(armed(serving(0x41, { enableApicv: true }))).toBe(false);
  const m = serving(0x41);
  m.vcpu[0]!.ioapic_handled_vectors.set(0x41);
  expect(armed(m)).toBe(false);
});

test('the vAPIC word is in guest memory, or there is none', () => {
  const m = machineWith();
  expect(does(m, kvm_lapic_set_vapic_addr(m, 0, 0x10_0000))).toBe(-22);
  expect(does(m, kvm_lapic_set_vapic_addr(m, 0, 0x100))).toBe(0);
  expect(m.vcpu[0]!.apic_attention.has(apicAttention.CHECK_VAPIC)).toBe(true);
  does(m, kvm_lapic_set_vapic_addr(m, 0, 0));
  expect(m.vcpu[0]!.apic_attention.any()).toBe(false);
});

test('the threshold makes the guest exit when its TPR lets something through', () => {
  const threshold = (wishes: Wishes, l2: boolean): number[] => {
    const m = machineWith(wishes);
    const vcpu = m.vcpu[0]!;
    vcpu.apic.irr.set(0x61);
    vcpu.apic.irr_pending = true;
    does(m, kvm_lapic_set_tpr(m, 0, 7));
    vcpu.guest_mode = l2;
    does(m, update_cr8_intercept(m, 0));
    return [vcpu.vmcs01.tpr_threshold, vcpu.nested.l1_tpr_threshold];
  };
  expect(threshold({}, false)).toEqual([6, -1]);
  expect(threshold({}, true)).toEqual([6, -1]);
  expect(threshold({ switches: { 'vmcs01-update-mode': 'defer' } }, true)).toEqual([0, 6]);
  for (const lost of ['no-threshold', 'drop']) {
    expect(threshold({ switches: { 'vmcs01-update-mode': lost } }, true)).toEqual([0, -1]);
  }
});
