// The functions of KVM that cases ask, by their kernel names. An entry that is missing is not
// modelled yet: the cases that need it fail and say so.

import { __run_hrtimer } from '#sim/host/hrtimer.ts';
import { kvm_set_or_clear_apicv_inhibit, kvm_vcpu_update_apicv } from '#sim/kvm/apicv.ts';
import { ioapic_mmio_write, kvm_ioapic_set_irq } from '#sim/kvm/ioapic.ts';
import { __apic_accept_irq, kvm_apic_local_deliver } from '#sim/kvm/lapic/accept.ts';
import {
  apic_mmio_read,
  apic_mmio_write,
  kvm_apic_write_nodecode,
  kvm_lapic_set_eoi,
  kvm_x2apic_msr_read,
  kvm_x2apic_msr_write,
} from '#sim/kvm/lapic/access.ts';
import { kvm_recalculate_apic_map } from '#sim/kvm/lapic/apic_map.ts';
import { kvm_apic_set_base } from '#sim/kvm/lapic/base.ts';
import type { KvmLapicIrq } from '#sim/kvm/lapic/destination.ts';
import { vcpu_scan_ioapic, vmx_load_eoi_exitmap } from '#sim/kvm/lapic/eoi.ts';
import { kvm_apic_accept_events } from '#sim/kvm/lapic/events.ts';
import { kvm_irq_delivery_to_apic } from '#sim/kvm/lapic/ipi.ts';
import { kvm_apic_ack_interrupt, kvm_apic_has_interrupt } from '#sim/kvm/lapic/priority.ts';
import { type Halves, kvm_pv_send_ipi } from '#sim/kvm/lapic/pv_ipi.ts';
import { kvm_lapic_reset } from '#sim/kvm/lapic/reset.ts';
import { kvm_apic_get_state, kvm_apic_set_state } from '#sim/kvm/lapic/state.ts';
import {
  kvm_get_lapic_tscdeadline_msr,
  kvm_set_lapic_tscdeadline_msr,
} from '#sim/kvm/lapic/timer.ts';
import { apic_timer_fn, kvm_inject_apic_timer_irqs } from '#sim/kvm/lapic/timer_expiry.ts';
import { kvm_lapic_set_tpr, update_cr8_intercept } from '#sim/kvm/lapic/tpr.ts';
import { kvm_lapic_sync_from_vapic, kvm_lapic_sync_to_vapic } from '#sim/kvm/lapic/vapic.ts';
import { kvm_arch_vcpu_ioctl_set_mpstate } from '#sim/kvm/mp_state.ts';
import { vmx_check_nested_events } from '#sim/kvm/vmx/nested/events.ts';
import { nested_vmx_prepare_msr_bitmap } from '#sim/kvm/vmx/nested/msr_bitmap.ts';
import { enter_vmx_operation } from '#sim/kvm/vmx/nested/operation.ts';
import {
  vmx_complete_nested_posted_interrupt,
  vmx_has_nested_events,
} from '#sim/kvm/vmx/nested/posted.ts';
import { nested_vmx_enter_non_root_mode, nested_vmx_run } from '#sim/kvm/vmx/nested/run.ts';
import { set_current_vmptr } from '#sim/kvm/vmx/nested/vmcs12.ts';
import { __nested_vmx_vmexit } from '#sim/kvm/vmx/nested/vmexit.ts';
import {
  harvestOf,
  maxOf,
  updatedOf,
  vmx_deliver_interrupt,
  vmx_hwapic_isr_update,
  vmx_sync_pir_to_irr,
} from '#sim/kvm/vmx/posted_intr.ts';
import type { Program } from '#sim/state/program.ts';
import { Call, type Machine, perform, type Steps } from '#sim/steps.ts';

export type { KvmLapicIrq } from '#sim/kvm/lapic/destination.ts';
export type { Halves } from '#sim/kvm/lapic/pv_ipi.ts';

/** A function may run to completion, or in steps. */
type Does<R> = Steps<R> | R;

/** 1 KiB as words: what KVM_GET_LAPIC gives and KVM_SET_LAPIC takes. */
export type LapicPage = Uint32Array;

/**
 * Return values are the kernel's: 0, 1 for #GP, a negative errno. What a register read gives is in
 * `guest.value` and `guest.value_high`.
 */
export interface KvmFunctions {
  // lapic.c: base, state, map
  kvm_lapic_reset(m: Machine, vcpu: number, init: boolean): Does<void>;
  kvm_apic_set_base(
    m: Machine,
    vcpu: number,
    low: number,
    high: number,
    host: boolean,
  ): Does<number>;
  kvm_apic_set_state(m: Machine, vcpu: number, page: LapicPage): Does<number>;
  kvm_apic_get_state(m: Machine, vcpu: number): Does<LapicPage>;
  kvm_recalculate_apic_map(m: Machine): Does<void>;
  // lapic.c: registers
  apic_mmio_read(m: Machine, vcpu: number, gpa: number, length: number): Does<number>;
  apic_mmio_write(
    m: Machine,
    vcpu: number,
    gpa: number,
    length: number,
    value: number,
  ): Does<number>;
  kvm_x2apic_msr_read(m: Machine, vcpu: number, msr: number): Does<number>;
  kvm_x2apic_msr_write(
    m: Machine,
    vcpu: number,
    msr: number,
    low: number,
    high: number,
  ): Does<number>;
  kvm_apic_write_nodecode(m: Machine, vcpu: number, offset: number): Does<void>;
  kvm_lapic_set_tpr(m: Machine, vcpu: number, cr8: number): Does<void>;
  kvm_lapic_set_eoi(m: Machine, vcpu: number): Does<void>;
  // lapic.c: interrupts
  __apic_accept_irq(
    m: Machine,
    vcpu: number,
    deliveryMode: number,
    vector: number,
    level: boolean,
    trigMode: boolean,
  ): Does<number>;
  kvm_irq_delivery_to_apic(m: Machine, source: number, irq: KvmLapicIrq): Does<number>;
  kvm_pv_send_ipi(
    m: Machine,
    bitmap: readonly [Halves, Halves],
    min: number,
    icr: number,
    longMode: boolean,
  ): Does<number>;
  kvm_apic_local_deliver(m: Machine, vcpu: number, lvt: number): Does<number>;
  kvm_apic_has_interrupt(m: Machine, vcpu: number): Does<number>;
  kvm_apic_ack_interrupt(m: Machine, vcpu: number, vector: number): Does<void>;
  kvm_apic_accept_events(m: Machine, vcpu: number): Does<number>;
  kvm_lapic_sync_to_vapic(m: Machine, vcpu: number): Does<void>;
  kvm_lapic_sync_from_vapic(m: Machine, vcpu: number): Does<void>;
  // lapic.c: timer
  kvm_get_lapic_tscdeadline_msr(m: Machine, vcpu: number): Does<number>;
  kvm_set_lapic_tscdeadline_msr(m: Machine, vcpu: number, value: number): Does<void>;
  /** fires the hrtimer of the APIC timer: apic_timer_fn is its callback */
  __run_hrtimer(m: Machine, vcpu: number): Does<void>;
  kvm_inject_apic_timer_irqs(m: Machine, vcpu: number): Does<void>;
  // x86.c
  kvm_vcpu_update_apicv(m: Machine, vcpu: number): Does<void>;
  kvm_set_or_clear_apicv_inhibit(m: Machine, reason: number, set: boolean): Does<void>;
  kvm_arch_vcpu_ioctl_set_mpstate(m: Machine, vcpu: number, state: number): Does<number>;
  update_cr8_intercept(m: Machine, vcpu: number): Does<void>;
  vcpu_scan_ioapic(m: Machine, vcpu: number): Does<void>;
  // ioapic.c
  kvm_ioapic_set_irq(m: Machine, pin: number, level: number): Does<number>;
  ioapic_mmio_write(m: Machine, offset: number, value: number): Does<void>;
  // vmx
  vmx_load_eoi_exitmap(m: Machine, vcpu: number): Does<void>;
  vmx_sync_pir_to_irr(m: Machine, vcpu: number): Does<number>;
  vmx_deliver_interrupt(m: Machine, vcpu: number, vector: number): Does<void>;
  vmx_hwapic_isr_update(m: Machine, vcpu: number, max: number): Does<void>;
  /** packed: see maxOf and updatedOf */
  __kvm_apic_update_irr(m: Machine, vcpu: number): Does<number>;
  // nested.c
  enter_vmx_operation(m: Machine, vcpu: number): Does<void>;
  set_current_vmptr(m: Machine, vcpu: number, vmptr: number): Does<void>;
  nested_vmx_run(m: Machine, vcpu: number, program: Program, launch: boolean): Does<number>;
  nested_vmx_prepare_msr_bitmap(m: Machine, vcpu: number): Does<boolean>;
  nested_vmx_enter_non_root_mode(m: Machine, vcpu: number, fromL1: boolean): Does<number>;
  __nested_vmx_vmexit(m: Machine, vcpu: number): Does<void>;
  vmx_check_nested_events(m: Machine, vcpu: number): Does<number>;
  vmx_complete_nested_posted_interrupt(m: Machine, vcpu: number): Does<number>;
  vmx_has_nested_events(m: Machine, vcpu: number, forInjection: boolean): Does<boolean>;
}

export const kvmFunctions: Partial<KvmFunctions> = {
  kvm_lapic_reset,
  kvm_apic_set_base,
  kvm_apic_set_state,
  kvm_apic_get_state,
  kvm_recalculate_apic_map,
  apic_mmio_read,
  apic_mmio_write,
  kvm_x2apic_msr_read,
  kvm_x2apic_msr_write,
  kvm_apic_write_nodecode,
  kvm_lapic_set_tpr,
  kvm_lapic_set_eoi,
  __apic_accept_irq,
  kvm_irq_delivery_to_apic,
  kvm_pv_send_ipi,
  kvm_apic_local_deliver,
  kvm_apic_has_interrupt,
  kvm_apic_ack_interrupt,
  kvm_apic_accept_events,
  kvm_lapic_sync_to_vapic,
  kvm_lapic_sync_from_vapic,
  kvm_get_lapic_tscdeadline_msr,
  kvm_set_lapic_tscdeadline_msr,
  __run_hrtimer: (m, vcpu) => __run_hrtimer(m, vcpu, [apic_timer_fn]),
  kvm_inject_apic_timer_irqs,
  kvm_vcpu_update_apicv,
  kvm_set_or_clear_apicv_inhibit,
  kvm_arch_vcpu_ioctl_set_mpstate,
  update_cr8_intercept,
  vcpu_scan_ioapic,
  kvm_ioapic_set_irq,
  ioapic_mmio_write,
  vmx_load_eoi_exitmap,
  vmx_sync_pir_to_irr,
  vmx_deliver_interrupt,
  vmx_hwapic_isr_update,
  __kvm_apic_update_irr: harvestOf,
  enter_vmx_operation,
  set_current_vmptr,
  nested_vmx_run,
  nested_vmx_prepare_msr_bitmap,
  nested_vmx_enter_non_root_mode,
  __nested_vmx_vmexit,
  vmx_check_nested_events,
  vmx_complete_nested_posted_interrupt,
  vmx_has_nested_events,
};

export const highestOf = maxOf;
export const isNewHighest = updatedOf;

export function need<N extends keyof KvmFunctions>(name: N): KvmFunctions[N] {
  const found = kvmFunctions[name];
  if (found === undefined) throw new Error(`${name} is not modelled yet`);
  return found as KvmFunctions[N];
}

export const isModelled = (name: keyof KvmFunctions): boolean => kvmFunctions[name] !== undefined;

/** Runs a call to its end in the place of an actor; what already ran is given back. */
export const done = <R>(m: Machine, actor: number, what: Does<R>): R =>
  what instanceof Call ? perform(m, actor, what) : what;
