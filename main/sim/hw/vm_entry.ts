/** VM entry, the guest on the CPU, VM exit: a call that gives the exit reason. */
import { level } from '../state/actor.ts';
import type { Program } from '../state/program.ts';
import {
  activityState,
  cpuControl,
  eventType,
  exitReason,
  INTR_INFO_VALID,
  secondaryControl,
  vmInstructionError,
} from '../state/vmcs.ts';
import { type Body, type Machine, sdm } from '../steps.ts';
import { boundaryEvent, eventAtBoundary, takeBoundaryEvent } from './guest_boundary.ts';
import { guestInstruction } from './guest_instructions.ts';
import { takeInterrupt, takeNmi } from './guest_interrupts.ts';
import { skipLoops } from './guest_program.ts';
import { isInterruptPending } from './physical_interrupts.ts';
import {
  ceaseRecognition,
  evaluatePendingInterrupts,
  pprVirtualization,
  tprBelowThreshold,
} from './virtual_interrupts.ts';
import { brokenEntryCheck, canInject, typeOfEvent } from './vm_entry_checks.ts';
import { currentVmcs, exitFor, primaryOn, secondaryOn } from './vmcs.ts';

export { skipLoops } from './guest_program.ts';

/** Did the reason come from an entry that never took place? */
const isFailedEntry = (reason: number): boolean =>
  reason === exitReason.VMFAIL || reason === exitReason.INVALID_GUEST_STATE;

/** The event of VM_ENTRY_INTR_INFO. @omits exceptions and software interrupts: they leave no trace */
const injectEvent = (m: Machine, vcpu: number, program: Program): void => {
  const info = currentVmcs(m, vcpu).vm_entry_intr_info;
  if (info < INTR_INFO_VALID) return;
  if (typeOfEvent(info) === eventType.EXTERNAL_INTERRUPT) {
    takeInterrupt(m, vcpu, info & 0xff, program);
  } else if (typeOfEvent(info) === eventType.NMI) {
    takeNmi(m, vcpu);
  }
};

/** VMfailValid: the instruction behind VMLAUNCH or VMRESUME reads why. */
const failEntry = (m: Machine, vcpu: number, error: number): void => {
  m.cpu[m.vcpu[vcpu]!.cpu]!.rflags_zf = error !== vmInstructionError.NONE;
  currentVmcs(m, vcpu).vm_instruction_error = error;
};

/** Checks of the VMCS; gives a reason if the entry fails. */
const checkEntry = (m: Machine, vcpu: number): number => {
  const { rflags_zf } = m.cpu[m.vcpu[vcpu]!.cpu]!;
  if (brokenEntryCheck(m, vcpu) !== undefined) {
    failEntry(m, vcpu, vmInstructionError.INVALID_CONTROL_FIELD);
    return exitReason.VMFAIL;
  }
  if (rflags_zf) failEntry(m, vcpu, vmInstructionError.NONE);
  return canInject(m, vcpu) ? exitReason.NONE : exitReason.INVALID_GUEST_STATE;
};

/** The transition alone: everything before the first instruction of the guest. */
function* enter(m: Machine, vcpuIndex: number, program: Program): Body<number> {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield m.step('VM entry');
  const failure = checkEntry(m, vcpuIndex);
  if (failure !== exitReason.NONE) return failure;
  vcpu.stat.vm_entries++;
  vcpu.non_root = true;
  m.actor[m.current]!.level = level.L1;
  injectEvent(m, vcpuIndex, program);
  const vmcs = currentVmcs(m, vcpuIndex);
  if (secondaryOn(vmcs, secondaryControl.VIRTUAL_INTR_DELIVERY)) {
    yield* pprVirtualization(m, vcpuIndex);
    evaluatePendingInterrupts(m, vcpuIndex);
    return exitReason.NONE;
  }
  const watched =
    primaryOn(vmcs, cpuControl.TPR_SHADOW) &&
    secondaryOn(vmcs, secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  return watched && tprBelowThreshold(m, vcpuIndex, vmcs)
    ? exitFor(vmcs, exitReason.TPR_BELOW_THRESHOLD, 0)
    : exitReason.NONE;
}

/** Back to the host. */
function* leave(m: Machine, vcpuIndex: number, reason: number): Body<void> {
  const vcpu = m.vcpu[vcpuIndex]!;
  const vmcs = currentVmcs(m, vcpuIndex);
  yield m.step('VM exit');
  ceaseRecognition(m, vcpuIndex);
  vcpu.non_root = false;
  vcpu.spec.left_guest++;
  vcpu.stat.vm_exits++;
  vmcs.vm_exit_reason = reason;
  // The event to inject is used up: an entry that shall inject one says so again.
  if (vmcs.vm_entry_intr_info >= INTR_INFO_VALID) vmcs.vm_entry_intr_info -= INTR_INFO_VALID;
  m.actor[m.current]!.level = level.L0;
}

const wakes = (m: Machine, vcpu: number): boolean => isInterruptPending(m, m.vcpu[vcpu]!.cpu);

/**
 * Enters the guest and runs it until something makes it exit. Interrupts of the host stay off:
 * one that arrives is seen at the next instruction boundary, which is not a step of its own.
 * Gives the exit reason; VMFAIL and INVALID_GUEST_STATE mean that there was no entry.
 * @sdm 27 VM entries, 28 VM exits
 * @omits other checks of guest and host state, INIT, SIPI, SMI, the preemption timer
 */
export const vmEntry = sdm(
  '27',
  function* vmEntry(m: Machine, vcpuIndex: number, program: Program) {
    let reason: number = yield* enter(m, vcpuIndex, program);
    if (isFailedEntry(reason)) return reason;
    const vmcs = currentVmcs(m, vcpuIndex);
    while (reason === exitReason.NONE) {
      const event = eventAtBoundary(m, vcpuIndex);
      if (event !== boundaryEvent.NONE) {
        reason = yield* takeBoundaryEvent(m, vcpuIndex, event, program);
      } else if (vmcs.guest_activity_state === activityState.ACTIVE) {
        const next = skipLoops(m, m.current, program);
        reason = yield* guestInstruction(m, vcpuIndex, program, next);
      } else {
        yield m.park('halted until an interrupt arrives', wakes, vcpuIndex);
      }
    }
    yield* leave(m, vcpuIndex, reason);
    return reason;
  },
);

/** The transition into the guest and nothing of the guest. For those who look at it there. */
export const vmEntryAlone = sdm(
  '27',
  function* vmEntryAlone(m: Machine, vcpuIndex: number, program: Program) {
    return yield* enter(m, vcpuIndex, program);
  },
);

/** The transition out of the guest alone. */
export const vmExitAlone = sdm(
  '28',
  function* vmExitAlone(m: Machine, vcpuIndex: number, reason: number) {
    yield* leave(m, vcpuIndex, reason);
  },
);
