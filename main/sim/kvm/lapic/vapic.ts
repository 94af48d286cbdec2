/** What KVM and the guest share in guest memory: the vAPIC word and the paravirtual EOI. */
import { PAGE_SIZE } from '../../state/machine.ts';
import { apicAttention } from '../../state/vcpu.ts';
import { kvm, type Machine } from '../../steps.ts';
import { EINVAL } from '../errno.ts';
import { gfn_to_memslot } from '../mmu/mmu.ts';
import { apic_set_eoi } from './eoi.ts';
import { apic_find_highest_irr, apic_find_highest_isr } from './priority.ts';
import { apic_set_tpr } from './tpr.ts';

const file = 'arch/x86/kvm/lapic.c';

const KVM_MSR_ENABLED = 1;

/** The guest skipped the EOI write if it cleared the bit that KVM had set: EOI in its place. */
const apic_sync_pv_eoi_from_guest = kvm(
  file,
  function* apic_sync_pv_eoi_from_guest(m: Machine, vcpu: number) {
    const { pv_eoi, apic_attention } = m.vcpu[vcpu]!;
    yield m.step('read the byte: has the guest cleared it?');
    const untouched = pv_eoi.armed;
    if (untouched) {
      yield m.step('clear the byte');
      pv_eoi.armed = false;
    }
    yield m.step('clear PV_EOI_PENDING');
    apic_attention.clear(apicAttention.PV_EOI_PENDING);
    if (!untouched) yield* apic_set_eoi(m, vcpu);
  },
);

/** Lets the guest skip its next EOI write, if nothing depends on seeing it. */
const apic_sync_pv_eoi_to_guest = kvm(
  file,
  function* apic_sync_pv_eoi_to_guest(m: Machine, vcpu: number) {
    const { pv_eoi, apic, apic_attention, ioapic_handled_vectors } = m.vcpu[vcpu]!;
    if ((pv_eoi.msr_val & KVM_MSR_ENABLED) === 0) return;
    yield m.step('is the vector in service the only one, and not of the IOAPIC?');
    // With APICv irr_pending is always set: the guest's EOI is accelerated anyway.
    const vector = apic.highest_isr_cache;
    if (apic.irr_pending || vector === -1 || ioapic_handled_vectors.has(vector)) return;
    yield m.step('set the byte');
    pv_eoi.armed = true;
    yield m.step('set PV_EOI_PENDING');
    apic_attention.set(apicAttention.PV_EOI_PENDING);
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
    yield m.step('write the vAPIC word {word}', word);
    target.vapic_word = word;
  },
);

/** After an exit, or an entry that did not take place: while apic_attention says so. */
export const kvm_lapic_sync_from_vapic = kvm(
  file,
  function* kvm_lapic_sync_from_vapic(m: Machine, vcpu: number) {
    const { apic_attention } = m.vcpu[vcpu]!;
    if (apic_attention.has(apicAttention.PV_EOI_PENDING)) {
      yield* apic_sync_pv_eoi_from_guest(m, vcpu);
    }
    if (!apic_attention.has(apicAttention.CHECK_VAPIC)) return;
    yield m.step('read the vAPIC word');
    const word = m.vcpu[vcpu]!.vapic_word;
    yield* apic_set_tpr(m, vcpu, word & 0xff);
  },
);

/** KVM_SET_VAPIC_ADDR: 0 ends the sharing; −EINVAL for an address that is no guest memory. */
export const kvm_lapic_set_vapic_addr = kvm(
  file,
  function* kvm_lapic_set_vapic_addr(m: Machine, vcpu: number, gpa: number) {
    const { apic, apic_attention } = m.vcpu[vcpu]!;
    yield m.step('find the memslot of the address');
    if (gpa === 0) apic_attention.clear(apicAttention.CHECK_VAPIC);
    else if (gfn_to_memslot(m, Math.floor(gpa / PAGE_SIZE)) < 0) return -EINVAL;
    else apic_attention.set(apicAttention.CHECK_VAPIC);
    yield m.step('store vapic_addr');
    apic.vapic_addr = gpa;
    return 0;
  },
);
