/** What KVM and the guest share in guest memory: the vAPIC word and the paravirtual EOI. */
import { apicAttention } from '../../state/vcpu.ts';
import { kvm, type Machine } from '../../steps.ts';
import { EINVAL } from '../errno.ts';
import {
  kvm_gfn_to_hva_cache_init,
  kvm_read_guest_cached,
  kvm_write_guest_cached,
} from '../guest_memory.ts';
import { apic_set_eoi } from './eoi.ts';
import { apic_find_highest_irr, apic_find_highest_isr } from './priority.ts';
import { apic_set_tpr } from './tpr.ts';

const file = 'arch/x86/kvm/lapic.c';

const KVM_MSR_ENABLED = 1;

/** What the byte of the paravirtual EOI says. */
const KVM_PV_EOI_ENABLED = 1;
const KVM_PV_EOI_DISABLED = 0;

/** Has the guest left the byte as it is? A byte that cannot be read counts as cleared. */
const pv_eoi_test_and_clr_pending = kvm(
  file,
  function* pv_eoi_test_and_clr_pending(m: Machine, vcpu: number) {
    const { pv_eoi, apic_attention } = m.vcpu[vcpu]!;
    const byte: number = yield* kvm_read_guest_cached(m, pv_eoi.data, 1);
    if (byte < 0) return false;
    const untouched = (byte & KVM_PV_EOI_ENABLED) !== 0;
    if (untouched) {
      const result: number = yield* kvm_write_guest_cached(m, pv_eoi.data, 1, KVM_PV_EOI_DISABLED);
      if (result < 0) return false;
    }
    yield m.step('clear PV_EOI_PENDING');
    apic_attention.clear(apicAttention.PV_EOI_PENDING);
    return untouched;
  },
);

/** The guest skipped the EOI write if it cleared the bit that KVM had set: EOI in its place. */
const apic_sync_pv_eoi_from_guest = kvm(
  file,
  function* apic_sync_pv_eoi_from_guest(m: Machine, vcpu: number) {
    if (!(yield* pv_eoi_test_and_clr_pending(m, vcpu))) yield* apic_set_eoi(m, vcpu);
  },
);

/** Lets the guest skip its next EOI write, if nothing depends on seeing it. */
const apic_sync_pv_eoi_to_guest = kvm(
  file,
  function* apic_sync_pv_eoi_to_guest(m: Machine, vcpu: number) {
    const { pv_eoi, apic, apic_attention, ioapic_handled_vectors } = m.vcpu[vcpu]!;
    // msr_val is a number of up to 53 bits: & would cut it.
    if (pv_eoi.msr_val % 2 !== KVM_MSR_ENABLED) return;
    yield m.step('is the vector in service the only one, and not of the IOAPIC?');
    // With APICv irr_pending is always set: the guest's EOI is accelerated anyway.
    const vector = apic.highest_isr_cache;
    if (apic.irr_pending || vector === -1 || ioapic_handled_vectors.has(vector)) return;
    const result: number = yield* kvm_write_guest_cached(m, pv_eoi.data, 1, KVM_PV_EOI_ENABLED);
    if (result < 0) return;
    yield m.step('set PV_EOI_PENDING');
    apic_attention.set(apicAttention.PV_EOI_PENDING);
  },
);

/** WRMSR of MSR_KVM_PV_EOI_EN: bit 0 enables, the rest is the address of the byte. 0, or #GP. */
export const kvm_lapic_set_pv_eoi = kvm(
  file,
  function* kvm_lapic_set_pv_eoi(m: Machine, vcpu: number, value: number) {
    const { pv_eoi } = m.vcpu[vcpu]!;
    const enable = value % 2 === KVM_MSR_ENABLED;
    const address = enable ? value - KVM_MSR_ENABLED : value;
    if (address % 4 !== 0) return 1;
    if (enable) {
      const result: number = yield* kvm_gfn_to_hva_cache_init(m, pv_eoi.data, address, 1);
      if (result !== 0) return result;
    }
    yield m.step('store the MSR');
    pv_eoi.msr_val = value;
    return 0;
  },
);

/** TPR, class in service and highest request, as the guest finds them in the word. */
const vapicWord = (m: Machine, vcpu: number): number => {
  const requested = Math.max(0, apic_find_highest_irr(m, vcpu));
  const inService = Math.max(0, apic_find_highest_isr(m, vcpu));
  const tpr = m.vcpu[vcpu]!.apic.tpr & 0xff;
  return (tpr | ((inService & 0xf0) << 8) | (requested << 24)) >>> 0;
};

/** Before an entry. */
export const kvm_lapic_sync_to_vapic = kvm(
  file,
  function* kvm_lapic_sync_to_vapic(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    yield* apic_sync_pv_eoi_to_guest(m, vcpu);
    if (!target.apic_attention.has(apicAttention.CHECK_VAPIC)) return;
    yield m.step('read TPR, IRR and ISR');
    const word = vapicWord(m, vcpu);
    const { apic, spec } = target;
    const result: number = yield* kvm_write_guest_cached(m, apic.vapic_cache, 4, word);
    if (result < 0) return;
    spec.vapic_word = word;
    spec.vapic_synced = true;
  },
);

/** After an exit, or an entry that did not take place: while apic_attention says so. */
export const kvm_lapic_sync_from_vapic = kvm(
  file,
  function* kvm_lapic_sync_from_vapic(m: Machine, vcpu: number) {
    const { apic, apic_attention, spec } = m.vcpu[vcpu]!;
    if (spec.vapic_synced) spec.vapic_synced = false;
    if (apic_attention.has(apicAttention.PV_EOI_PENDING)) {
      yield* apic_sync_pv_eoi_from_guest(m, vcpu);
    }
    if (!apic_attention.has(apicAttention.CHECK_VAPIC)) return;
    const word: number = yield* kvm_read_guest_cached(m, apic.vapic_cache, 4);
    if (word >= 0) yield* apic_set_tpr(m, vcpu, word & 0xff);
  },
);

/** KVM_SET_VAPIC_ADDR: 0 ends the sharing; −EINVAL for an address that is no guest memory. */
export const kvm_lapic_set_vapic_addr = kvm(
  file,
  function* kvm_lapic_set_vapic_addr(m: Machine, vcpu: number, gpa: number) {
    const { apic, apic_attention } = m.vcpu[vcpu]!;
    if (gpa !== 0) {
      const result: number = yield* kvm_gfn_to_hva_cache_init(m, apic.vapic_cache, gpa, 4);
      if (result !== 0) return -EINVAL;
    }
    yield m.step('CHECK_VAPIC: is there a word?');
    if (gpa === 0) apic_attention.clear(apicAttention.CHECK_VAPIC);
    else apic_attention.set(apicAttention.CHECK_VAPIC);
    yield m.step('store vapic_addr');
    apic.vapic_addr = gpa;
    return 0;
  },
);
