/** IRR, ISR, PPR: what is requested, what is in service, what may interrupt. */
import { priorityOf } from '../../state/priority.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { kvm, type Machine } from '../../steps.ts';
import { kvm_make_request, noteVisible } from '../kvm_main.ts';
import { syncsPir, vmx_hwapic_isr_update, vmx_sync_pir_to_irr } from '../vmx/posted_intr.ts';

const file = 'arch/x86/kvm/lapic.c';

const APIC_BASE_ENABLE = 1 << 11;
const APIC_BASE_X2APIC = 1 << 10;

/** MSR IA32_APIC_BASE enables the APIC. @kvm arch/x86/kvm/lapic.h: kvm_apic_hw_enabled */
export const kvm_apic_hw_enabled = (m: Machine, vcpu: number): boolean =>
  (m.vcpu[vcpu]!.apic_base & APIC_BASE_ENABLE) !== 0;

/** @kvm arch/x86/kvm/lapic.h: kvm_apic_sw_enabled */
export const kvm_apic_sw_enabled = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.apic.sw_enabled;

/** @kvm arch/x86/kvm/lapic.c: apic_enabled */
export const apic_enabled = (m: Machine, vcpu: number): boolean =>
  kvm_apic_sw_enabled(m, vcpu) && kvm_apic_hw_enabled(m, vcpu);

/** @kvm arch/x86/kvm/lapic.h: apic_x2apic_mode */
export const apic_x2apic_mode = (m: Machine, vcpu: number): boolean =>
  (m.vcpu[vcpu]!.apic_base & APIC_BASE_X2APIC) !== 0;

/** Highest requested vector, −1 for none. @kvm arch/x86/kvm/lapic.c: apic_find_highest_irr */
export const apic_find_highest_irr = (m: Machine, vcpu: number): number => {
  const { apic } = m.vcpu[vcpu]!;
  return apic.irr_pending ? apic.irr.highest() : -1;
};

/** Highest vector in service, −1 for none. @kvm arch/x86/kvm/lapic.c: apic_find_highest_isr */
export const apic_find_highest_isr = (m: Machine, vcpu: number): number => {
  const { apic } = m.vcpu[vcpu]!;
  if (apic.isr_count === 0) return -1;
  return apic.highest_isr_cache !== -1 ? apic.highest_isr_cache : apic.isr.highest();
};

/** Is a vector requested or in service? @kvm arch/x86/kvm/lapic.c */
export const kvm_apic_pending_eoi = (m: Machine, vcpu: number, vector: number): boolean => {
  const { irr, isr } = m.vcpu[vcpu]!.apic;
  return isr.has(vector) || irr.has(vector);
};

/** Requests a vector: the bit before the flag, so that a scan that follows the flag finds it. */
export const apic_set_irr = kvm(
  file,
  function* apic_set_irr(m: Machine, vcpu: number, vector: number) {
    const { apic, spec } = m.vcpu[vcpu]!;
    if (m.on('irr-bit-before-pending')) {
      yield m.step('set vector {vector} in IRR', vector);
      apic.irr.set(vector);
      noteVisible(m, vcpu, vector);
      spec.irr_hint_open++;
      yield m.step('irr_pending = true');
      apic.irr_pending = true;
      spec.irr_hint_open--;
    } else {
      yield m.step('irr_pending = true');
      apic.irr_pending = true;
      yield m.step('set vector {vector} in IRR', vector);
      apic.irr.set(vector);
      noteVisible(m, vcpu, vector);
    }
  },
);

/** Takes a vector out of IRR. With APICv the flag stays set. */
export const apic_clear_irr = kvm(
  file,
  function* apic_clear_irr(m: Machine, vcpu: number, vector: number) {
    const { apic, spec } = m.vcpu[vcpu]!;
    if (apic.apicv_active) {
      yield m.step('clear vector {vector} in IRR', vector);
      apic.irr.clear(vector);
      return;
    }
    if (!m.on('irr-pending-clear-then-rescan')) {
      yield m.step('clear vector {vector} in IRR and scan it', vector);
      apic.irr.clear(vector);
      const any = apic.irr.any();
      spec.irr_hint_open++;
      yield m.step('irr_pending = what the scan found');
      apic.irr_pending = any;
      spec.irr_hint_open--;
      return;
    }
    yield m.step('irr_pending = false');
    apic.irr_pending = false;
    spec.irr_hint_open++;
    yield m.step('clear vector {vector} in IRR', vector);
    apic.irr.clear(vector);
    yield m.step('scan IRR: anything left sets irr_pending again');
    if (apic.irr.any()) apic.irr_pending = true;
    spec.irr_hint_open--;
  },
);

/** Puts a vector in service; ISR is the vCPU's own. @kvm arch/x86/kvm/lapic.c: apic_set_isr */
export const apic_set_isr = (m: Machine, vcpu: number, vector: number): void => {
  const { apic } = m.vcpu[vcpu]!;
  if (apic.isr.set(vector)) return;
  if (apic.apicv_active) {
    vmx_hwapic_isr_update(m, vcpu, vector);
  } else {
    apic.isr_count++;
    apic.highest_isr_cache = vector;
  }
};

/** Takes a vector out of service. @kvm arch/x86/kvm/lapic.c: apic_clear_isr */
export const apic_clear_isr = (m: Machine, vcpu: number, vector: number): void => {
  const { apic } = m.vcpu[vcpu]!;
  if (!apic.isr.clear(vector)) return;
  if (apic.apicv_active) {
    vmx_hwapic_isr_update(m, vcpu, apic_find_highest_isr(m, vcpu));
  } else {
    apic.isr_count--;
    apic.highest_isr_cache = -1;
  }
};

/** Recomputes the PPR; says whether it dropped. @kvm arch/x86/kvm/lapic.c: __apic_update_ppr */
export const __apic_update_ppr = (m: Machine, vcpu: number): boolean => {
  const { apic, spec } = m.vcpu[vcpu]!;
  const old = apic.ppr;
  const ppr = priorityOf(apic.tpr, Math.max(0, apic_find_highest_isr(m, vcpu)));
  if (ppr !== old) apic.ppr = ppr;
  const inService = Math.max(0, apic.isr.highest());
  const seen = (apic.tpr & 0xff) | (inService << 8) | (ppr << 16);
  if (spec.ppr_update !== seen) spec.ppr_update = seen;
  return ppr < old;
};

/** The highest vector that the PPR lets through, −1 for none; harvests PIR on the way. */
const apic_has_interrupt_for_ppr = kvm(
  file,
  function* apic_has_interrupt_for_ppr(m: Machine, vcpu: number, ppr: number) {
    const highest: number = syncsPir(m, vcpu)
      ? yield* vmx_sync_pir_to_irr(m, vcpu)
      : apic_find_highest_irr(m, vcpu);
    return highest === -1 || (highest & 0xf0) <= ppr ? -1 : highest;
  },
);

/** Recomputes the PPR, and asks for EVENT if that lets something through. */
export const apic_update_ppr = kvm(file, function* apic_update_ppr(m: Machine, vcpu: number) {
  yield m.step('recompute the PPR');
  if (!__apic_update_ppr(m, vcpu)) return;
  const { ppr } = m.vcpu[vcpu]!.apic;
  const vector: number = yield* apic_has_interrupt_for_ppr(m, vcpu, ppr);
  if (vector === -1) return;
  yield m.step('make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
});

/** The vector that could be delivered now, −1 for none. May write IRR and RVI. */
export const kvm_apic_has_interrupt = kvm(
  file,
  function* kvm_apic_has_interrupt(m: Machine, vcpu: number) {
    const { apic } = m.vcpu[vcpu]!;
    if (!kvm_apic_hw_enabled(m, vcpu) || apic.guest_apic_protected) return -1;
    yield m.step('recompute the PPR');
    __apic_update_ppr(m, vcpu);
    const vector: number = yield* apic_has_interrupt_for_ppr(m, vcpu, apic.ppr);
    return vector;
  },
);

/** Moves a vector from IRR to ISR. @omits vectors that Hyper-V's SynIC ends by itself (AutoEOI) */
export const kvm_apic_ack_interrupt = kvm(
  file,
  function* kvm_apic_ack_interrupt(m: Machine, vcpu: number, vector: number) {
    yield* apic_clear_irr(m, vcpu, vector);
    yield m.step('put vector {vector} in service', vector);
    apic_set_isr(m, vcpu, vector);
    __apic_update_ppr(m, vcpu);
  },
);
