/** APICv of a VM: the reasons why it is off, and how every vCPU follows them. */
import {
  apicvUpdateLockFree,
  apicvUpdateLockReadable,
  down_read_apicv_update,
  down_write_apicv_update,
  up_read_apicv_update,
  up_write_apicv_update,
} from '../host/locks.ts';
import { apicAccessGfn } from '../state/addresses.ts';
import { KVM_REQ } from '../state/requests.ts';
import { apicvInhibitReason } from '../state/vm.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { kvm_make_all_cpus_request, kvm_make_request } from './kvm_main.ts';
import { apic_find_highest_isr, kvm_apic_hw_enabled } from './lapic/priority.ts';
import { kvm_apicv_activated } from './mmu/mmu.ts';
import { kvm_zap_gfn_range } from './mmu/zap.ts';
import { vmx_refresh_apicv_exec_ctrl } from './vmx/apicv.ts';
import { vmx_hwapic_isr_update } from './vmx/posted_intr.ts';

const file = 'arch/x86/kvm/x86.c';

const {
  DISABLED,
  HYPERV,
  ABSENT,
  BLOCKIRQ,
  PHYSICAL_ID_ALIASED,
  APIC_ID_MODIFIED,
  APIC_BASE_MODIFIED,
} = apicvInhibitReason;

/** The reasons that VMX has to honour; the others are of SVM. @kvm arch/x86/kvm/vmx/main.c */
const VMX_REQUIRED_APICV_INHIBITS =
  (1 << DISABLED) |
  (1 << HYPERV) |
  (1 << ABSENT) |
  (1 << BLOCKIRQ) |
  (1 << PHYSICAL_ID_ALIASED) |
  (1 << APIC_ID_MODIFIED) |
  (1 << APIC_BASE_MODIFIED);

function* writeReasons(m: Machine, reasons: number): Body<void> {
  yield m.step('apicv_inhibit_reasons = {reasons}', reasons);
  const { spec } = m.vm;
  if (spec.apicv_followers > 0) spec.reasons_while_followed++;
  m.vm.apicv_inhibit_reasons.setWord(0, reasons);
}

/**
 * From none to some, or back. Every vCPU leaves the guest before the reasons change: none may run
 * with APICv while another thread already reads that it is off.
 */
function* switchApicv(m: Machine, reasons: number): Body<void> {
  if (m.on('apicv-kick-before-reasons')) {
    yield* kvm_make_all_cpus_request(m, KVM_REQ.APICV_UPDATE);
    yield* writeReasons(m, reasons);
  } else {
    yield* writeReasons(m, reasons);
    yield* kvm_make_all_cpus_request(m, KVM_REQ.APICV_UPDATE);
  }
  m.vm.stat.apicv_switches++;
  if (reasons === 0 || !m.on('apicv-zap-on-inhibit')) return;
  yield* kvm_zap_gfn_range(m, apicAccessGfn);
}

/** The same for a caller that holds apicv_update_lock. */
export const __kvm_set_or_clear_apicv_inhibit = kvm(
  file,
  function* __kvm_set_or_clear_apicv_inhibit(m: Machine, reason: number, set: boolean) {
    if ((VMX_REQUIRED_APICV_INHIBITS & (1 << reason)) === 0) return;
    yield m.step('read the reasons; add or remove {reason}', reason);
    const old = m.vm.apicv_inhibit_reasons.word(0);
    const reasons = set ? old | (1 << reason) : old & ~(1 << reason);
    if ((old === 0) !== (reasons === 0)) yield* switchApicv(m, reasons);
    else if (reasons !== old) yield* writeReasons(m, reasons);
  },
);

/** Adds a reason why APICv is off for the VM, or removes one. */
export const kvm_set_or_clear_apicv_inhibit = kvm(
  file,
  function* kvm_set_or_clear_apicv_inhibit(m: Machine, reason: number, set: boolean) {
    if (!m.vm.enable_apicv) return;
    if (!m.on('apicv-update-lock')) {
      yield* __kvm_set_or_clear_apicv_inhibit(m, reason, set);
      return;
    }
    yield m.park('down_write apicv_update_lock', apicvUpdateLockFree);
    down_write_apicv_update(m);
    yield* __kvm_set_or_clear_apicv_inhibit(m, reason, set);
    yield m.step('up_write apicv_update_lock');
    up_write_apicv_update(m);
  },
);

/** The hint before d3ddef46f22e: left as it is, or (b26a695a1d78) scanned. */
function* recomputeIrrPending(m: Machine, vcpu: number): Body<void> {
  const { apic } = m.vcpu[vcpu]!;
  if (apic.apicv_active) {
    yield m.step('irr_pending = true');
    apic.irr_pending = true;
  } else if (m.switch('irr-pending-on-transition') === 'scan') {
    yield m.step('scan IRR');
    const any = apic.irr.any();
    yield m.step('irr_pending = {any}', any ? 1 : 0);
    apic.irr_pending = any;
  }
}

/**
 * Sets the hints about IRR and ISR for an APIC with or without APICv. irr_pending is set whatever
 * the status: hardware, and senders that saw the old one, may still put bits into IRR.
 */
export const kvm_apic_update_apicv = kvm(
  'arch/x86/kvm/lapic.c',
  function* kvm_apic_update_apicv(m: Machine, vcpu: number) {
    const { apic } = m.vcpu[vcpu]!;
    if (m.switch('irr-pending-on-transition') === 'true') {
      yield m.step('irr_pending = true');
      apic.irr_pending = true;
    } else {
      yield* recomputeIrrPending(m, vcpu);
    }
    yield m.step('isr_count, highest_isr_cache');
    apic.highest_isr_cache = -1;
    apic.isr_count = apic.apicv_active ? 1 : apic.isr.count();
    if (!apic.apicv_active || !m.on('svi-on-activation')) return;
    yield m.step('SVI = the highest vector in service');
    vmx_hwapic_isr_update(m, vcpu, apic_find_highest_isr(m, vcpu));
  },
);

/**
 * Older kernels write SVI where RESET, INIT or KVM_SET_LAPIC replace the registers, and nowhere
 * else where it changes with the mode.
 */
export function* sviOfNewState(m: Machine, vcpu: number): Body<void> {
  if (!m.vcpu[vcpu]!.apic.apicv_active || m.on('svi-on-activation')) return;
  yield m.step('SVI = the highest vector in service');
  vmx_hwapic_isr_update(m, vcpu, apic_find_highest_isr(m, vcpu));
}

/** Makes APICv of one vCPU what the reasons and the mode of its APIC say. */
function* followReasons(m: Machine, vcpu: number): Body<void> {
  const { apic } = m.vcpu[vcpu]!;
  yield m.step('is apicv_active what the inhibit reasons say?');
  const activate = kvm_apicv_activated(m) && kvm_apic_hw_enabled(m, vcpu);
  if (apic.apicv_active === activate) return;
  const { spec } = m.vm;
  spec.apicv_followers++;
  yield m.step('apicv_active = {activate}', activate ? 1 : 0);
  apic.apicv_active = activate;
  yield* kvm_apic_update_apicv(m, vcpu);
  yield* vmx_refresh_apicv_exec_ctrl(m, vcpu);
  spec.apicv_followers--;
  if (activate || !m.on('event-on-apicv-deactivate')) return;
  // An interrupt that was accepted with APICv asked for no EVENT.
  yield m.step('APICv is off now: make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
}

/** Makes APICv what the reasons say, under the lock that keeps them as they are meanwhile. */
export const __kvm_vcpu_update_apicv = kvm(
  file,
  function* __kvm_vcpu_update_apicv(m: Machine, vcpu: number) {
    if (!m.on('apicv-update-lock')) {
      yield* followReasons(m, vcpu);
      return;
    }
    yield m.park('down_read apicv_update_lock', apicvUpdateLockReadable);
    down_read_apicv_update(m);
    yield* followReasons(m, vcpu);
    yield m.step('up_read apicv_update_lock');
    up_read_apicv_update(m);
  },
);

/**
 * Handler of APICV_UPDATE.
 * @omits kvm_inhibit_apic_access_page for a vCPU in x2APIC mode: only SVM does so
 */
export const kvm_vcpu_update_apicv = kvm(
  file,
  function* kvm_vcpu_update_apicv(m: Machine, vcpu: number) {
    yield* __kvm_vcpu_update_apicv(m, vcpu);
  },
);

/** Nested exit (`defer`): writes SVI, which could not be written while L2 ran. */
export const kvm_apic_update_hwapic_isr = (m: Machine, vcpu: number): void => {
  if (!m.vcpu[vcpu]!.apic.apicv_active) return;
  vmx_hwapic_isr_update(m, vcpu, apic_find_highest_isr(m, vcpu));
};
