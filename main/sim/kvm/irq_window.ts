/** An ExtINT of user space: when KVM can take it, and how user space hears of that. */
import { irqchipMode } from '../state/vm.ts';
import type { Machine } from '../steps.ts';
import { kvm_apic_accept_pic_intr, kvm_cpu_has_extint } from './irq.ts';
import { kvm_event_needs_reinjection, vmx_interrupt_allowed } from './vmx/blocked.ts';

/** Is there room for another ExtINT, and does LINT0 let one through? @kvm arch/x86/kvm/x86.c */
const kvm_cpu_accept_dm_intr = (m: Machine, vcpu: number): boolean =>
  !kvm_cpu_has_extint(m, vcpu) && kvm_apic_accept_pic_intr(m, vcpu);

/** Does user space wait until the guest can take an interrupt? @kvm arch/x86/kvm/x86.c */
const dm_request_for_irq_injection = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.request_interrupt_window && m.vm.irqchip_mode === irqchipMode.SPLIT;

/** Must the guest exit as soon as it can take an interrupt? @kvm arch/x86/kvm/x86.c: req_int_win */
export const requestsWindow = (m: Machine, vcpu: number): boolean =>
  dm_request_for_irq_injection(m, vcpu) && kvm_cpu_accept_dm_intr(m, vcpu);

/** Would the next entry inject what KVM_INTERRUPT brings? @kvm arch/x86/kvm/x86.c */
export const kvm_vcpu_ready_for_interrupt_injection = (m: Machine, vcpu: number): boolean =>
  vmx_interrupt_allowed(m, vcpu, false) > 0 &&
  kvm_cpu_accept_dm_intr(m, vcpu) &&
  !kvm_event_needs_reinjection(m, vcpu);

/** Is what user space waits for there? */
export const windowIsOpen = (m: Machine, vcpu: number): boolean =>
  dm_request_for_irq_injection(m, vcpu) && kvm_vcpu_ready_for_interrupt_injection(m, vcpu);

/** What KVM_RUN tells user space. @kvm arch/x86/kvm/x86.c: post_kvm_run_save */
export const saveReadiness = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.ready_for_interrupt_injection =
    m.vm.irqchip_mode === irqchipMode.KERNEL || kvm_vcpu_ready_for_interrupt_injection(m, vcpu);
};
