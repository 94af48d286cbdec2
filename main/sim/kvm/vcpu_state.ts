/** What user space saves and restores of a vCPU besides its APIC: pending events and MP state. */
import { currentVmcs } from '../hw/vmcs.ts';
import { apicEvent } from '../state/lapic.ts';
import { KVM_REQ } from '../state/requests.ts';
import { mpState } from '../state/vcpu.ts';
import { interruptibility, interruptShadow } from '../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { kvm_check_request } from './check_request.ts';
import { EINVAL } from './errno.ts';
import { process_nmi } from './inject.ts';
import { kvm_make_request } from './kvm_main.ts';
import { kvm_apic_accept_events } from './lapic/events.ts';
import { process_smi } from './smm.ts';
import { vmx_set_nmi_mask } from './vmx/blocked.ts';
import { vmx_leave_nested } from './vmx/nested/state.ts';

const file = 'arch/x86/kvm/x86.c';

/** struct kvm_vcpu_events; a software interrupt is made again by its instruction. */
export interface VcpuEvents {
  readonly interrupt: { readonly injected: boolean; readonly nr: number; readonly shadow: number };
  readonly nmi: { readonly injected: boolean; readonly pending: number; readonly masked: boolean };
  readonly smi: {
    readonly smm: boolean;
    readonly pending: boolean;
    readonly smm_inside_nmi: boolean;
    readonly latched_init: boolean;
  };
}

const eventsOf = (m: Machine, vcpu: number): VcpuEvents => {
  const target = m.vcpu[vcpu]!;
  const { guest_interruptibility } = currentVmcs(m, vcpu);
  const { injected, soft, nr } = target.interrupt;
  return {
    interrupt: {
      injected: injected && !soft,
      nr,
      shadow: guest_interruptibility & interruptShadow,
    },
    nmi: {
      injected: target.nmi_injected,
      pending: target.nmi_pending,
      masked: (guest_interruptibility & interruptibility.NMI) !== 0,
    },
    smi: {
      smm: target.in_smm,
      pending: target.smi_pending,
      smm_inside_nmi: target.smm_inside_nmi_mask,
      latched_init: target.apic.pending_events.has(apicEvent.INIT),
    },
  };
};

/** KVM_GET_VCPU_EVENTS: NMIs and an SMI that are only requested count as pending. */
export const kvm_vcpu_ioctl_x86_get_vcpu_events = kvm(
  file,
  function* kvm_vcpu_ioctl_x86_get_vcpu_events(m: Machine, vcpu: number) {
    yield* process_nmi(m, vcpu);
    if (yield* kvm_check_request(m, vcpu, KVM_REQ.SMI)) yield* process_smi(m, vcpu);
    yield m.step('read the events');
    return eventsOf(m, vcpu);
  },
);

const setInterrupt = (m: Machine, vcpu: number, { interrupt }: VcpuEvents): void => {
  const target = m.vcpu[vcpu]!;
  target.interrupt.injected = interrupt.injected;
  target.interrupt.nr = interrupt.nr;
  target.interrupt.soft = false;
  const vmcs = currentVmcs(m, vcpu);
  const rest = vmcs.guest_interruptibility & ~interruptShadow;
  vmcs.guest_interruptibility = rest | interrupt.shadow;
};

/** Pending NMIs go through the queue, as those of senders do. */
const setNmi = (m: Machine, vcpu: number, { nmi }: VcpuEvents): void => {
  const target = m.vcpu[vcpu]!;
  target.nmi_injected = nmi.injected;
  target.nmi_pending = 0;
  target.nmi_queued = nmi.pending;
  if (nmi.pending > 0) kvm_make_request(m, vcpu, KVM_REQ.NMI);
  vmx_set_nmi_mask(m, vcpu, nmi.masked);
};

/** L1 and L2 of inside SMM are not those of outside: a vCPU that is moved there has neither. */
function* setSmi(m: Machine, vcpu: number, { smi }: VcpuEvents): Body<void> {
  const target = m.vcpu[vcpu]!;
  if (target.in_smm !== smi.smm) yield* vmx_leave_nested(m, vcpu);
  yield m.step('SMM, an SMI, an INIT that SMM holds back');
  target.in_smm = smi.smm;
  target.smi_pending = smi.pending;
  target.smm_inside_nmi_mask = smi.smm && smi.smm_inside_nmi;
  if (smi.latched_init) target.apic.pending_events.set(apicEvent.INIT);
  else target.apic.pending_events.clear(apicEvent.INIT);
}

/**
 * KVM_SET_VCPU_EVENTS; −EINVAL for SMM in a vCPU that waits for its start.
 * @omits exceptions, triple faults, the vector of a SIPI
 */
export const kvm_vcpu_ioctl_x86_set_vcpu_events = kvm(
  file,
  function* kvm_vcpu_ioctl_x86_set_vcpu_events(m: Machine, vcpu: number, events: VcpuEvents) {
    const { smm, pending } = events.smi;
    if ((smm || pending) && m.vcpu[vcpu]!.mp_state === mpState.INIT_RECEIVED) return -EINVAL;
    yield* process_nmi(m, vcpu);
    yield m.step('the interrupt that is being injected; blocking by STI and MOV SS');
    setInterrupt(m, vcpu, events);
    yield m.step('NMIs, and whether they are masked');
    setNmi(m, vcpu, events);
    yield* setSmi(m, vcpu, events);
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    return 0;
  },
);

/** KVM_GET_MP_STATE: what INIT and SIPI do to it is done first. */
export const kvm_arch_vcpu_ioctl_get_mpstate = kvm(
  file,
  function* kvm_arch_vcpu_ioctl_get_mpstate(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    const refused: number = yield* kvm_apic_accept_events(m, vcpu);
    if (refused < 0) return refused;
    yield m.step('read mp_state');
    const halted = target.mp_state === mpState.HALTED || target.mp_state === mpState.AP_RESET_HOLD;
    return halted && target.pv_unhalted ? mpState.RUNNABLE : target.mp_state;
  },
);
