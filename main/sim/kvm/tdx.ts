/** A trust domain: KVM sees neither IRR nor ISR, and reaches the guest through PIR alone. */
import { alloc_page } from '../host/frames.ts';
import { smp_send_notification } from '../host/irq.ts';
import { readVirtualApic } from '../hw/apic_virtualization.ts';
import { readFrame, writeFrame } from '../hw/memory.ts';
import { currentVmcs, rviOf } from '../hw/vmcs.ts';
import { APIC_LVTT, APIC_PROCPRI, APIC_VECTOR_MASK } from '../state/apicdef.ts';
import { apicPageBytes } from '../state/lapic.ts';
import { hpa_to_pfn, pfn_to_hpa } from '../state/machine.ts';
import { POSTED_INTR_VECTOR } from '../state/pi_desc.ts';
import { classOf } from '../state/priority.ts';
import { exitReason } from '../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { kvm_lapic_get_reg } from './lapic/page.ts';
import { kvm_wait_lapic_expire } from './lapic/timer_expiry.ts';
import { pi_has_pending_interrupt } from './vmx/pi_blocking.ts';
import { __vmx_deliver_posted_interrupt, vmx_deliver_interrupt } from './vmx/posted_intr.ts';

const file = 'arch/x86/kvm/vmx/tdx.c';

/**
 * Makes the vCPU one of a TD. The TDX module keeps the virtual-APIC page: `vcpu.apic` is only what
 * KVM believes, and of interrupts that is nothing.
 * @kvm arch/x86/kvm/vmx/tdx.c
 */
export const tdx_vcpu_create = (m: Machine, vcpu: number): void => {
  const { apic, vmcs01 } = m.vcpu[vcpu]!;
  apic.guest_apic_protected = true;
  const believed = hpa_to_pfn(vmcs01.virtual_apic_page_addr);
  const real = alloc_page(m);
  for (let at = 0; at < apicPageBytes; at += 4) {
    const value = readFrame(m, believed, at);
    if (value !== 0) writeFrame(m, real, at, value);
  }
  vmcs01.virtual_apic_page_addr = pfn_to_hpa(real);
};

/**
 * Before the entry: only the CPU, inside the TD, can take PIR, and it does so when the notification
 * arrives there. Interrupts are off, so that it does not arrive before.
 * @kvm arch/x86/kvm/vmx/tdx.c: tdx_vcpu_run
 */
export function* notifyTd(m: Machine, vcpu: number): Body<void> {
  const { pi_desc, cpu } = m.vcpu[vcpu]!;
  yield m.step('TD: if ON is set send the notification vector to this CPU');
  if (!pi_desc.on) return;
  smp_send_notification(m, cpu, POSTED_INTR_VECTOR);
  yield m.step('TD: is the vector of the timer posted?');
  const vector = kvm_lapic_get_reg(m, vcpu, APIC_LVTT) & APIC_VECTOR_MASK;
  if (pi_desc.pir.has(vector)) yield* kvm_wait_lapic_expire(m, vcpu);
}

/** Delivers a vector, whatever apicv_active says: there is no other way in. */
const tdx_deliver_interrupt = kvm(
  file,
  function* tdx_deliver_interrupt(m: Machine, vcpu: number, vector: number) {
    yield* __vmx_deliver_posted_interrupt(m, vcpu, vector);
  },
);

/**
 * What the TDX module tells of the TD: RVI is above VPPR.
 * @kvm arch/x86/kvm/vmx/tdx.h
 */
const tdx_vcpu_state_details_intr_pending = (m: Machine, vcpu: number): boolean =>
  classOf(rviOf(currentVmcs(m, vcpu))) > classOf(readVirtualApic(m, vcpu, APIC_PROCPRI));

/**
 * Could the guest take an interrupt now? In HLT, with interrupts allowed, only the TDX module knows
 * what is requested; otherwise an interrupt that is not posted is on its way already.
 */
export const tdx_protected_apic_has_interrupt = kvm(
  file,
  function* tdx_protected_apic_has_interrupt(m: Machine, vcpu: number) {
    const { vmcs01, guest } = m.vcpu[vcpu]!;
    yield m.step('is an interrupt posted?');
    if (pi_has_pending_interrupt(m, vcpu)) return true;
    if (vmcs01.vm_exit_reason !== exitReason.HLT || !guest.rflags_if) return false;
    yield m.step('TDH.VP.RD: is a deliverable interrupt requested?');
    return tdx_vcpu_state_details_intr_pending(m, vcpu);
  },
);

/** Gives a vector to a vCPU of either kind. */
export const vt_deliver_interrupt = kvm(
  'arch/x86/kvm/vmx/main.c',
  function* vt_deliver_interrupt(m: Machine, vcpu: number, vector: number) {
    if (m.vcpu[vcpu]!.apic.guest_apic_protected) yield* tdx_deliver_interrupt(m, vcpu, vector);
    else yield* vmx_deliver_interrupt(m, vcpu, vector);
  },
);
