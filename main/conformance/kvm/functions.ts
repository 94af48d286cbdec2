// The functions of KVM that cases ask, by their kernel names. An entry that is missing is not
// modelled yet: the cases that need it fail and say so.

import { kvm_apic_ack_interrupt, kvm_apic_has_interrupt } from '#sim/kvm/lapic/priority.ts';
import { kvm_lapic_set_tpr, update_cr8_intercept } from '#sim/kvm/lapic/tpr.ts';
import {
  __kvm_apic_update_irr,
  maxOf,
  updatedOf,
  vmx_deliver_interrupt,
  vmx_hwapic_isr_update,
  vmx_sync_pir_to_irr,
} from '#sim/kvm/vmx/posted_intr.ts';
import { Call, type Machine, perform, type Steps } from '#sim/steps.ts';

/** A function may run to completion, or in steps. */
type Does<R> = Steps<R> | R;

/** Two halves of a 64-bit register. */
export interface Halves {
  readonly low: number;
  readonly high: number;
}

/** struct kvm_lapic_irq */
export interface KvmLapicIrq {
  readonly vector: number;
  /** as in the ICR: bits 10:8, bit 11, bits 19:18 */
  readonly delivery_mode: number;
  readonly dest_mode: number;
  readonly shorthand: number;
  readonly level: boolean;
  readonly trig_mode: boolean;
  readonly dest_id: number;
  readonly msi_redir_hint: boolean;
}

/** arguments of __apic_accept_irq */
export interface AcceptIrq {
  readonly delivery_mode: number;
  readonly vector: number;
  readonly level: boolean;
  readonly trig_mode: boolean;
}

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
  __apic_accept_irq(m: Machine, vcpu: number, irq: AcceptIrq): Does<number>;
  kvm_irq_delivery_to_apic(m: Machine, source: number, irq: KvmLapicIrq): Does<number>;
  kvm_pv_send_ipi(
    m: Machine,
    bitmap: readonly Halves[],
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
  ioapic_write_indirect(m: Machine, register: number, value: number): Does<void>;
  // vmx
  vmx_load_eoi_exitmap(m: Machine, vcpu: number): Does<void>;
  vmx_sync_pir_to_irr(m: Machine, vcpu: number): Does<number>;
  vmx_deliver_interrupt(m: Machine, vcpu: number, vector: number): Does<void>;
  vmx_hwapic_isr_update(m: Machine, vcpu: number, max: number): Does<void>;
  /** packed: see maxOf and updatedOf */
  __kvm_apic_update_irr(m: Machine, vcpu: number): Does<number>;
  // nested.c
  nested_vmx_enter_non_root_mode(m: Machine, vcpu: number): Does<unknown>;
  __nested_vmx_vmexit(m: Machine, vcpu: number): Does<void>;
  // the processor
  deliverVirtualInterrupt(m: Machine, vcpu: number): Does<number>;
  virtualEoi(m: Machine, vcpu: number): Does<void>;
}

export const kvmFunctions: Partial<KvmFunctions> = {
  kvm_apic_has_interrupt,
  kvm_apic_ack_interrupt,
  kvm_lapic_set_tpr,
  update_cr8_intercept,
  vmx_sync_pir_to_irr,
  vmx_deliver_interrupt,
  vmx_hwapic_isr_update,
  __kvm_apic_update_irr,
};

export const highestOf = maxOf;
export const isNewHighest = updatedOf;

export function need<N extends keyof KvmFunctions>(name: N): KvmFunctions[N] {
  const found = kvmFunctions[name];
  if (found === undefined) throw new Error(`${name} is not modelled yet`);
  return found as KvmFunctions[N];
}

export const isModelled = (name: keyof KvmFunctions): boolean => kvmFunctions[name] !== undefined;

/** Runs a call to its end in the place of an actor; what already ran to completion is given back. */
export const done = <R>(m: Machine, actor: number, what: Does<R>): R =>
  what instanceof Call ? perform(m, actor, what) : what;
