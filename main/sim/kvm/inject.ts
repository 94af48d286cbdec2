/** Events on their way into the guest: what is injected, what waits, what is taken back. */
import { KVM_REQ } from '../state/requests.ts';
import {
  activityState,
  cpuControl,
  eventType,
  exitReason,
  INTR_INFO_VALID,
  interruptibility,
  interruptShadow,
} from '../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { EBUSY } from './errno.ts';
import { kvm_cpu_get_interrupt, kvm_cpu_has_injectable_intr } from './irq.ts';
import { kvm_make_request } from './kvm_main.ts';
import { enter_smm, setNmiMask } from './smm.ts';
import { vmx_check_nested_events } from './vmx/nested.ts';

const file = 'arch/x86/kvm/x86.c';

const NMI_VECTOR = 2;
const TYPE_SHIFT = 8;

/** Must the event that is being delivered come first? @kvm arch/x86/kvm/x86.h */
export const kvm_event_needs_reinjection = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.interrupt.injected || m.vcpu[vcpu]!.nmi_injected;

/** @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_interrupt_blocked = (m: Machine, vcpu: number): boolean => {
  const { guest, vmcs01, apic } = m.vcpu[vcpu]!;
  // KVM sees no flags of a TD; it hears of them when the TD halts (tdx_interrupt_allowed).
  if (apic.guest_apic_protected && vmcs01.vm_exit_reason !== exitReason.HLT) return false;
  return !guest.rflags_if || (vmcs01.guest_interruptibility & interruptShadow) !== 0;
};

/** 1, 0, or −EBUSY while a nested entry has to come first. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_interrupt_allowed = (m: Machine, vcpu: number): number => {
  if (m.vcpu[vcpu]!.nested_run_pending) return -EBUSY;
  return vmx_interrupt_blocked(m, vcpu) ? 0 : 1;
};

/** @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_nmi_allowed = (m: Machine, vcpu: number): number => {
  if (m.vcpu[vcpu]!.nested_run_pending) return -EBUSY;
  const { guest_interruptibility } = m.vcpu[vcpu]!.vmcs01;
  return (guest_interruptibility & (interruptShadow | interruptibility.NMI)) === 0 ? 1 : 0;
};

/** @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_smi_allowed = (m: Machine, vcpu: number): number => {
  if (m.vcpu[vcpu]!.nested_run_pending) return -EBUSY;
  return m.vcpu[vcpu]!.in_smm ? 0 : 1;
};

/** The event that the next entry injects; it ends HLT. */
const writeEvent = (m: Machine, vcpu: number, type: number, vector: number): void => {
  const { vmcs01 } = m.vcpu[vcpu]!;
  vmcs01.vm_entry_intr_info = INTR_INFO_VALID + (type << TYPE_SHIFT) + vector;
  if (vmcs01.guest_activity_state === activityState.HLT) {
    vmcs01.guest_activity_state = activityState.ACTIVE;
  }
};

const vmx_inject_irq = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_inject_irq(m: Machine, vcpu: number) {
    const { interrupt, stat } = m.vcpu[vcpu]!;
    const vector = interrupt.nr;
    yield m.step('VMWRITE VM_ENTRY_INTR_INFO: interrupt {vector}', vector);
    stat.irq_injections++;
    const type = interrupt.soft ? eventType.SOFT_INTERRUPT : eventType.EXTERNAL_INTERRUPT;
    writeEvent(m, vcpu, type, vector);
  },
);

const vmx_inject_nmi = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_inject_nmi(m: Machine, vcpu: number) {
    yield m.step('VMWRITE VM_ENTRY_INTR_INFO: NMI');
    writeEvent(m, vcpu, eventType.NMI, NMI_VECTOR);
  },
);

function* enableWindow(m: Machine, vcpu: number, control: number): Body<void> {
  yield m.step('exit as soon as control {control} says that it is possible', control);
  m.vcpu[vcpu]!.vmcs01.cpu_based_vm_exec_control.set(control);
}

/** @kvm arch/x86/kvm/vmx/vmx.c: vmx_enable_irq_window */
export const enableIrqWindow = (m: Machine, vcpu: number): Body<void> =>
  enableWindow(m, vcpu, cpuControl.INTR_WINDOW);

/** While STI holds interrupts back it does so with NMIs. @kvm vmx.c: vmx_enable_nmi_window */
const enableNmiWindow = (m: Machine, vcpu: number): Body<void> => {
  const held = (m.vcpu[vcpu]!.vmcs01.guest_interruptibility & interruptibility.STI) !== 0;
  return enableWindow(m, vcpu, held ? cpuControl.INTR_WINDOW : cpuControl.NMI_WINDOW);
};

/** @kvm arch/x86/kvm/x86.h: kvm_queue_interrupt */
const kvm_queue_interrupt = (m: Machine, vcpu: number, vector: number, soft: boolean): void => {
  const { interrupt } = m.vcpu[vcpu]!;
  interrupt.injected = true;
  interrupt.soft = soft;
  interrupt.nr = vector;
};

/** Something that was under way must be injected again before anything else. */
function* injectAgain(m: Machine, vcpu: number): Body<void> {
  const { nmi_injected, interrupt } = m.vcpu[vcpu]!;
  if (nmi_injected) yield* vmx_inject_nmi(m, vcpu);
  else if (interrupt.injected) yield* vmx_inject_irq(m, vcpu);
}

/** Gives what `allowed` says, or −EBUSY if another event comes first. */
const permission = (
  m: Machine,
  vcpu: number,
  allowed: (m: Machine, vcpu: number) => number,
): number => (kvm_event_needs_reinjection(m, vcpu) ? -EBUSY : allowed(m, vcpu));

/** An SMI that has to wait needs no window: the RSM before it exits anyway. */
function* injectSmi(m: Machine, vcpu: number): Body<number> {
  const allowed = permission(m, vcpu, vmx_smi_allowed);
  if (allowed <= 0) return allowed;
  yield m.step('the SMI is taken');
  m.vcpu[vcpu]!.smi_pending = false;
  yield* enter_smm(m, vcpu);
  return 1;
}

function* injectNmi(m: Machine, vcpu: number): Body<number> {
  const target = m.vcpu[vcpu]!;
  const allowed = permission(m, vcpu, vmx_nmi_allowed);
  if (allowed < 0) return allowed;
  if (allowed > 0) {
    yield m.step('take an NMI from the queue');
    target.nmi_pending--;
    target.nmi_injected = true;
    yield* vmx_inject_nmi(m, vcpu);
  }
  if (target.nmi_pending > 0) yield* enableNmiWindow(m, vcpu);
  return 0;
}

/** `first`: no SMI was taken before it, with which the guest has to begin. */
function* injectInterrupt(m: Machine, vcpu: number, first: boolean): Body<number> {
  if (!(yield* kvm_cpu_has_injectable_intr(m, vcpu))) return 0;
  const allowed = first ? permission(m, vcpu, vmx_interrupt_allowed) : -EBUSY;
  if (allowed < 0) return allowed;
  if (allowed > 0) {
    const vector: number = yield* kvm_cpu_get_interrupt(m, vcpu);
    if (vector !== -1) {
      kvm_queue_interrupt(m, vcpu, vector, false);
      const { spec } = m.vcpu[vcpu]!;
      if (spec.extints > 0) spec.extints--;
      yield* vmx_inject_irq(m, vcpu);
    }
  }
  if (yield* kvm_cpu_has_injectable_intr(m, vcpu)) yield* enableIrqWindow(m, vcpu);
  return 0;
}

/** New events, in the order of their priority; −EBUSY if one has to wait for another. */
function* injectNew(m: Machine, vcpu: number): Body<number> {
  const target = m.vcpu[vcpu]!;
  if (target.guest_debug_blockirq) return 0;
  let first = true;
  if (target.smi_pending) {
    const result: number = yield* injectSmi(m, vcpu);
    if (result < 0) return result;
    first = result === 0;
  }
  if (target.nmi_pending > 0) {
    if (!first) return -EBUSY;
    const result: number = yield* injectNmi(m, vcpu);
    if (result < 0) return result;
  }
  return yield* injectInterrupt(m, vcpu, first);
}

/**
 * Injects the event that comes first. 1 asks for an exit right behind the entry, because another
 * event has to wait for this one; negative is an error.
 * @omits exceptions, and the state that goes with them
 */
export const kvm_check_and_inject_events = kvm(
  file,
  function* kvm_check_and_inject_events(m: Machine, vcpu: number) {
    const nested: number = m.vcpu[vcpu]!.guest_mode ? yield* vmx_check_nested_events(m, vcpu) : 0;
    yield* injectAgain(m, vcpu);
    const result: number = nested < 0 ? nested : yield* injectNew(m, vcpu);
    return result === -EBUSY ? 1 : result;
  },
);

/** An event did not arrive: it goes back into the queue that it came from. */
const requeue = (m: Machine, vcpu: number, info: number): void => {
  const target = m.vcpu[vcpu]!;
  if (target.nmi_injected) target.nmi_injected = false;
  if (target.interrupt.injected) target.interrupt.injected = false;
  if (info < INTR_INFO_VALID) return;
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  const type = (info >>> TYPE_SHIFT) & 7;
  if (type === eventType.NMI) {
    target.nmi_injected = true;
    setNmiMask(m, vcpu, false);
  } else if (type === eventType.EXTERNAL_INTERRUPT || type === eventType.SOFT_INTERRUPT) {
    kvm_queue_interrupt(m, vcpu, info & 0xff, type === eventType.SOFT_INTERRUPT);
  }
};

/** After an exit: what the exit broke off is injected again. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_complete_interrupts = (m: Machine, vcpu: number): void =>
  requeue(m, vcpu, m.vcpu[vcpu]!.vmcs01.idt_vectoring_info);

/** The entry does not take place: what it was to inject goes back. */
export const vmx_cancel_injection = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_cancel_injection(m: Machine, vcpu: number) {
    const { vmcs01 } = m.vcpu[vcpu]!;
    yield m.step('take the event of VM_ENTRY_INTR_INFO back');
    requeue(m, vcpu, vmcs01.vm_entry_intr_info);
    if (vmcs01.vm_entry_intr_info !== 0) vmcs01.vm_entry_intr_info = 0;
  },
);

/** Handler of NMI: one is running or blocked, and one more waits. */
export const process_nmi = kvm(file, function* process_nmi(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const masked = (target.vmcs01.guest_interruptibility & interruptibility.NMI) !== 0;
  const most = masked || target.nmi_injected ? 1 : 2;
  yield m.step('take the NMIs that senders have queued');
  target.nmi_pending = Math.min(target.nmi_pending + target.nmi_queued, most);
  target.nmi_queued = 0;
  if (target.nmi_pending === 0) return;
  yield m.step('make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
});
