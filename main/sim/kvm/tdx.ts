/** A trust domain: KVM sees neither IRR nor ISR, and reaches the guest through PIR alone. */
import { currentVmcs } from '../hw/vmcs.ts';
import { exitReason } from '../state/vmcs.ts';
import { kvm, type Machine } from '../steps.ts';
import { pi_has_pending_interrupt } from './vmx/pi_blocking.ts';
import { __vmx_deliver_posted_interrupt, vmx_deliver_interrupt } from './vmx/posted_intr.ts';

const file = 'arch/x86/kvm/vmx/tdx.c';

/** Delivers a vector, whatever apicv_active says: there is no other way in. */
export const tdx_deliver_interrupt = kvm(
  file,
  function* tdx_deliver_interrupt(m: Machine, vcpu: number, vector: number) {
    yield* __vmx_deliver_posted_interrupt(m, vcpu, vector);
  },
);

/**
 * Could the guest take an interrupt now? In HLT, with interrupts allowed, only the TDX module knows
 * what is requested; otherwise an interrupt that is not posted is on its way already.
 */
export const tdx_protected_apic_has_interrupt = kvm(
  file,
  function* tdx_protected_apic_has_interrupt(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('is an interrupt posted?');
    if (pi_has_pending_interrupt(m, vcpu)) return true;
    const halted = currentVmcs(m, vcpu).vm_exit_reason === exitReason.HLT;
    if (!halted || !target.guest.rflags_if) return false;
    yield m.step('TDH.VP.RD: is a deliverable interrupt requested?');
    return target.tdx_rvi_pending;
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
