/** What holds events back: the guest that runs, or an entry into L2 that has to come first. */
import { currentVmcs, pinOn } from '../../hw/vmcs.ts';
import {
  exitControl,
  exitReason,
  interruptibility,
  interruptShadow,
  pinControl,
} from '../../state/vmcs.ts';
import type { Machine } from '../../steps.ts';
import { EBUSY } from '../errno.ts';

/** Must an event that is being delivered come first? @kvm arch/x86/kvm/x86.h */
export const kvm_event_needs_reinjection = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.interrupt.injected || m.vcpu[vcpu]!.nmi_injected;

/** Do interrupts end L2? @kvm arch/x86/kvm/vmx/nested.h */
export const nested_exit_on_intr = (m: Machine, vcpu: number): boolean =>
  pinOn(m.vcpu[vcpu]!.nested.cached_vmcs12, pinControl.EXT_INTR);

/** Do NMIs end L2? @kvm arch/x86/kvm/vmx/nested.h */
export const nested_exit_on_nmi = (m: Machine, vcpu: number): boolean =>
  pinOn(m.vcpu[vcpu]!.nested.cached_vmcs12, pinControl.NMI);

/** Does L1 find the vector of the interrupt that has ended L2? @kvm arch/x86/kvm/vmx/nested.c */
export const nested_exit_intr_ack_set = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.nested.cached_vmcs12.vm_exit_controls.has(exitControl.ACK_INTR_ON_EXIT);

/** Does the guest that runs hold interrupts back? @kvm arch/x86/kvm/vmx/vmx.c */
export const __vmx_interrupt_blocked = (m: Machine, vcpu: number): boolean => {
  const { guest, apic } = m.vcpu[vcpu]!;
  const { guest_interruptibility, vm_exit_reason } = currentVmcs(m, vcpu);
  // KVM sees no flags of a TD; it hears of them when the TD halts (tdx_interrupt_allowed).
  if (apic.guest_apic_protected && vm_exit_reason !== exitReason.HLT) return false;
  return !guest.rflags_if || (guest_interruptibility & interruptShadow) !== 0;
};

/** What ends L2 is not L2's to hold back. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_interrupt_blocked = (m: Machine, vcpu: number): boolean =>
  !(m.vcpu[vcpu]!.guest_mode && nested_exit_on_intr(m, vcpu)) && __vmx_interrupt_blocked(m, vcpu);

/**
 * 1, 0, or −EBUSY while something has to come first: a nested entry, or, for an injection, the exit
 * that L1 wants instead.
 * @kvm arch/x86/kvm/vmx/vmx.c
 */
export const vmx_interrupt_allowed = (m: Machine, vcpu: number, forInjection: boolean): number => {
  const { guest_mode, nested } = m.vcpu[vcpu]!;
  if (nested.nested_run_pending) return -EBUSY;
  if (forInjection && guest_mode && nested_exit_on_intr(m, vcpu)) return -EBUSY;
  return vmx_interrupt_blocked(m, vcpu) ? 0 : 1;
};

/** @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_nmi_blocked = (m: Machine, vcpu: number): boolean => {
  if (m.vcpu[vcpu]!.guest_mode && nested_exit_on_nmi(m, vcpu)) return false;
  const { guest_interruptibility } = currentVmcs(m, vcpu);
  return (guest_interruptibility & (interruptShadow | interruptibility.NMI)) !== 0;
};

/** As vmx_interrupt_allowed. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_nmi_allowed = (m: Machine, vcpu: number, forInjection: boolean): number => {
  const { guest_mode, nested } = m.vcpu[vcpu]!;
  if (nested.nested_run_pending) return -EBUSY;
  if (forInjection && guest_mode && nested_exit_on_nmi(m, vcpu)) return -EBUSY;
  return vmx_nmi_blocked(m, vcpu) ? 0 : 1;
};

/** @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_smi_allowed = (m: Machine, vcpu: number): number => {
  if (m.vcpu[vcpu]!.nested.nested_run_pending) return -EBUSY;
  return m.vcpu[vcpu]!.in_smm ? 0 : 1;
};

/** While an NMI is handled no other comes. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_set_nmi_mask = (m: Machine, vcpu: number, masked: boolean): void => {
  const vmcs = currentVmcs(m, vcpu);
  const rest = vmcs.guest_interruptibility & ~interruptibility.NMI;
  vmcs.guest_interruptibility = masked ? rest | interruptibility.NMI : rest;
};
