/** Events on their way into the guest: what is injected, what waits, what is taken back. */
import { currentVmcs } from '../hw/vmcs.ts';
import { KVM_REQ } from '../state/requests.ts';
import {
  activityState,
  cpuControl,
  eventType,
  INTR_INFO_VALID,
  interruptibility,
} from '../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { EBUSY } from './errno.ts';
import { kvm_cpu_get_interrupt, kvm_cpu_has_injectable_intr } from './irq.ts';
import { kvm_make_request } from './kvm_main.ts';
import { enter_smm } from './smm.ts';
import {
  kvm_event_needs_reinjection,
  vmx_interrupt_allowed,
  vmx_nmi_allowed,
  vmx_set_nmi_mask,
  vmx_smi_allowed,
} from './vmx/blocked.ts';
import { vmx_check_nested_events } from './vmx/nested/events.ts';
import { vmx_has_nested_events } from './vmx/nested/posted.ts';

const file = 'arch/x86/kvm/x86.c';

const NMI_VECTOR = 2;
const TYPE_SHIFT = 8;
const typeOf = (info: number): number => (info >>> TYPE_SHIFT) & 7;
const GP_VECTOR = 13;

/** The event that the next entry injects; it ends HLT. */
const writeEvent = (m: Machine, vcpu: number, type: number, vector: number): void => {
  const vmcs = currentVmcs(m, vcpu);
  vmcs.vm_entry_intr_info = INTR_INFO_VALID + (type << TYPE_SHIFT) + vector;
  if (vmcs.guest_activity_state === activityState.HLT) {
    vmcs.guest_activity_state = activityState.ACTIVE;
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
  currentVmcs(m, vcpu).cpu_based_vm_exec_control.set(control);
}

/** @kvm arch/x86/kvm/vmx/vmx.c: vmx_enable_irq_window */
export const enableIrqWindow = (m: Machine, vcpu: number): Body<void> =>
  enableWindow(m, vcpu, cpuControl.INTR_WINDOW);

/** While STI holds interrupts back it does so with NMIs. @kvm vmx.c: vmx_enable_nmi_window */
const enableNmiWindow = (m: Machine, vcpu: number): Body<void> => {
  const held = (currentVmcs(m, vcpu).guest_interruptibility & interruptibility.STI) !== 0;
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
  const { exception_pending, nmi_injected, interrupt } = m.vcpu[vcpu]!;
  // An exception that its delivery has raised comes first.
  if (exception_pending) return;
  if (nmi_injected) yield* vmx_inject_nmi(m, vcpu);
  else if (interrupt.injected) yield* vmx_inject_irq(m, vcpu);
}

/** An exception is for the next entry to inject. */
const injectsException = (m: Machine, vcpu: number): boolean => {
  const { vm_entry_intr_info: info } = currentVmcs(m, vcpu);
  return info >= INTR_INFO_VALID && typeOf(info) === eventType.EXCEPTION;
};

/** Nothing is being injected already. */
const canInject = (m: Machine, vcpu: number): boolean =>
  !kvm_event_needs_reinjection(m, vcpu) && !injectsException(m, vcpu);

/** Gives what `allowed` says, or −EBUSY if another event comes first. */
const permission = (
  m: Machine,
  vcpu: number,
  allowed: (m: Machine, vcpu: number, forInjection: boolean) => number,
): number => (canInject(m, vcpu) ? allowed(m, vcpu, true) : -EBUSY);

const vmx_inject_exception = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_inject_exception(m: Machine, vcpu: number) {
    yield m.step('VMWRITE VM_ENTRY_INTR_INFO: #GP');
    m.vcpu[vcpu]!.exception_pending = false;
    writeEvent(m, vcpu, eventType.EXCEPTION, GP_VECTOR);
  },
);

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
  if (target.exception_pending) yield* vmx_inject_exception(m, vcpu);
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

/** What of L2 needs KVM again before its first instruction. */
function* needsExit(m: Machine, vcpu: number): Body<boolean> {
  return m.vcpu[vcpu]!.guest_mode && (yield* vmx_has_nested_events(m, vcpu, true));
}

/**
 * Injects the event that comes first. 1 asks for an exit right behind the entry, because another
 * event has to wait for this one; negative is an error.
 * @omits exceptions other than a #GP without its error code, and the state that goes with them
 */
export const kvm_check_and_inject_events = kvm(
  file,
  function* kvm_check_and_inject_events(m: Machine, vcpu: number) {
    const nested: number = m.vcpu[vcpu]!.guest_mode ? yield* vmx_check_nested_events(m, vcpu) : 0;
    yield* injectAgain(m, vcpu);
    const result: number = nested < 0 ? nested : yield* injectNew(m, vcpu);
    if (result === -EBUSY) return 1;
    if (result < 0) return result;
    return (yield* needsExit(m, vcpu)) ? 1 : 0;
  },
);

/** An event did not arrive: it goes back into the queue that it came from. */
const requeue = (m: Machine, vcpu: number, info: number): void => {
  const target = m.vcpu[vcpu]!;
  if (target.nmi_injected) target.nmi_injected = false;
  if (target.interrupt.injected) target.interrupt.injected = false;
  if (info < INTR_INFO_VALID) return;
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  const type = typeOf(info);
  if (type === eventType.EXCEPTION) {
    target.exception_pending = true;
  } else if (type === eventType.NMI) {
    target.nmi_injected = true;
    vmx_set_nmi_mask(m, vcpu, false);
  } else if (type === eventType.EXTERNAL_INTERRUPT || type === eventType.SOFT_INTERRUPT) {
    kvm_queue_interrupt(m, vcpu, info & 0xff, type === eventType.SOFT_INTERRUPT);
  }
};

/** After an exit: what the exit broke off is injected again. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_complete_interrupts = (m: Machine, vcpu: number): void =>
  requeue(m, vcpu, currentVmcs(m, vcpu).idt_vectoring_info);

/** The entry does not take place: what it was to inject goes back. */
export const vmx_cancel_injection = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_cancel_injection(m: Machine, vcpu: number) {
    const vmcs = currentVmcs(m, vcpu);
    yield m.step('take the event of VM_ENTRY_INTR_INFO back');
    requeue(m, vcpu, vmcs.vm_entry_intr_info);
    if (vmcs.vm_entry_intr_info !== 0) vmcs.vm_entry_intr_info = 0;
  },
);

/** Handler of NMI: one is running or blocked, and one more waits. */
export const process_nmi = kvm(file, function* process_nmi(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const masked = (currentVmcs(m, vcpu).guest_interruptibility & interruptibility.NMI) !== 0;
  const most = masked || target.nmi_injected ? 1 : 2;
  yield m.step('take the NMIs that senders have queued');
  target.nmi_pending = Math.min(target.nmi_pending + target.nmi_queued, most);
  target.nmi_queued = 0;
  if (target.nmi_pending === 0) return;
  yield m.step('make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
});
