/** The end of an interrupt, and who must hear of it: the exits that EOIs cause. */
import { KVM_REQ } from '../../state/requests.ts';
import { irqchipMode } from '../../state/vm.ts';
import { kvm, type Machine } from '../../steps.ts';
import { kvm_ioapic_scan_entry, kvm_ioapic_update_eoi } from '../ioapic.ts';
import { kvm_scan_ioapic_routes } from '../irq_comm.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { syncsPir, vmx_sync_pir_to_irr } from '../vmx/posted_intr.ts';
import { vmcsOfL1 } from '../vmx/vmcs01.ts';
import {
  apic_clear_isr,
  apic_find_highest_isr,
  apic_update_ppr,
  kvm_apic_hw_enabled,
} from './priority.ts';

const file = 'arch/x86/kvm/lapic.c';

/** Tells the IOAPIC, in the kernel or in user space, if one of its routes has this vector. */
const kvm_ioapic_send_eoi = kvm(
  file,
  function* kvm_ioapic_send_eoi(m: Machine, vcpu: number, vector: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('does the IOAPIC handle vector {vector}?', vector);
    if (!target.ioapic_handled_vectors.has(vector)) return;
    // The last of an older route: from now on its EOI need not exit.
    if (target.highest_stale_pending_ioapic_eoi === vector) {
      yield m.step('make SCAN_IOAPIC');
      kvm_make_request(m, vcpu, KVM_REQ.SCAN_IOAPIC);
    }
    if (m.vm.irqchip_mode === irqchipMode.SPLIT) {
      yield m.step('pending_ioapic_eoi = {vector}', vector);
      target.pending_ioapic_eoi = vector;
      yield m.step('make IOAPIC_EOI_EXIT');
      kvm_make_request(m, vcpu, KVM_REQ.IOAPIC_EOI_EXIT);
      return;
    }
    yield m.step('TMR: was it level-triggered?');
    yield* kvm_ioapic_update_eoi(m, vcpu, vector, target.apic.tmr.has(vector));
  },
);

/**
 * The guest writes EOI: ends the highest vector in service, and gives it; −1 for none.
 * @omits that Hyper-V's SynIC hears of its vectors
 */
export const apic_set_eoi = kvm(file, function* apic_set_eoi(m: Machine, vcpu: number) {
  yield m.step('which vector is in service?');
  const { apic, spec } = m.vcpu[vcpu]!;
  const vector = apic_find_highest_isr(m, vcpu);
  if (vector !== apic.isr.highest()) spec.wrong_eois++;
  if (vector === -1) return -1;
  yield m.step('clear vector {vector} in ISR', vector);
  apic_clear_isr(m, vcpu, vector);
  yield* apic_update_ppr(m, vcpu);
  yield* kvm_ioapic_send_eoi(m, vcpu, vector);
  yield m.step('make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  return vector;
});

/** The CPU has virtualized the EOI, and exits because the vector is in the EOI-exit bitmap. */
export const kvm_apic_set_eoi_accelerated = kvm(
  file,
  function* kvm_apic_set_eoi_accelerated(m: Machine, vcpu: number, vector: number) {
    yield* kvm_ioapic_send_eoi(m, vcpu, vector);
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  },
);

/** Finds out again which vectors' EOIs the IOAPIC must see. */
export const vcpu_scan_ioapic = kvm(
  'arch/x86/kvm/x86.c',
  function* vcpu_scan_ioapic(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    if (!kvm_apic_hw_enabled(m, vcpu)) return;
    yield m.step('no vector is handled, and none is stale');
    target.ioapic_handled_vectors.clearAll();
    target.highest_stale_pending_ioapic_eoi = -1;
    if (syncsPir(m, vcpu)) yield* vmx_sync_pir_to_irr(m, vcpu);
    const split = m.vm.irqchip_mode === irqchipMode.SPLIT;
    yield* (split ? kvm_scan_ioapic_routes : kvm_ioapic_scan_entry)(m, vcpu);
    if (target.guest_mode && m.on('eoi-bitmap-defer-in-l2')) {
      yield m.step('load_eoi_exitmap_pending: L2 has an EOI-exit bitmap of its own');
      target.load_eoi_exitmap_pending = true;
    } else {
      yield m.step('make LOAD_EOI_EXITMAP');
      kvm_make_request(m, vcpu, KVM_REQ.LOAD_EOI_EXITMAP);
    }
  },
);

/** Writes the EOI-exit bitmap of the loaded VMCS, which should be that of L1. */
export const vmx_load_eoi_exitmap = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_load_eoi_exitmap(m: Machine, vcpu: number) {
    const { apic, ioapic_handled_vectors: handled } = m.vcpu[vcpu]!;
    // No EOI of a TD exits (vt_load_eoi_exitmap).
    if (!apic.apicv_active || apic.guest_apic_protected) return;
    yield m.step('VMWRITE EOI_EXIT_BITMAP0 to EOI_EXIT_BITMAP3');
    const vmcs = vmcsOfL1(m, vcpu);
    const fields = [
      vmcs.eoi_exit_bitmap0,
      vmcs.eoi_exit_bitmap1,
      vmcs.eoi_exit_bitmap2,
      vmcs.eoi_exit_bitmap3,
    ];
    for (const [index, field] of fields.entries()) {
      field.setWord(0, handled.word(2 * index));
      field.setWord(1, handled.word(2 * index + 1));
    }
  },
);

/** @omits the vectors of Hyper-V's synthetic interrupt controller */
export const vcpu_load_eoi_exitmap = kvm(
  'arch/x86/kvm/x86.c',
  function* vcpu_load_eoi_exitmap(m: Machine, vcpu: number) {
    if (kvm_apic_hw_enabled(m, vcpu)) yield* vmx_load_eoi_exitmap(m, vcpu);
  },
);
