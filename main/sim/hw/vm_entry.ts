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
import { preemptionTimerExpired, startPreemptionTimer } from './preemption_timer.ts';
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

/**
 * The event of VM_ENTRY_INTR_INFO.
 * @omits exceptions and software interrupts: they leave no trace
 */
const injectEvent = (m: Machine, vcpu: number, program: Program): void => {
  const info = currentVmcs(m, vcpu).vm_entry_intr_info;
  if (info < INTR_INFO_VALID) return;
  if (typeOfEvent(info) === eventType.EXTERNAL_INTERRUPT) {
    takeInterrupt(m, vcpu, info & 0xff, program);
  } else if (typeOfEvent(info) === eventType.NMI) {
    takeNmi(m, vcpu);
  }
};

/** Checks of the VMCS; gives a reason if the entry fails. */
const checkEntry = (m: Machine, vcpu: number): number => {
  const cpu = m.cpu[m.vcpu[vcpu]!.cpu]!;
  const vmcs = currentVmcs(m, vcpu);
  const valid = brokenEntryCheck(m, vcpu) === undefined;
  if (cpu.rflags_zf === valid) cpu.rflags_zf = !valid;
  if (!valid) {
    vmcs.vm_instruction_error = vmInstructionError.INVALID_CONTROL_FIELD;
    return exitReason.VMFAIL;
  }
  if (canInject(m, vcpu)) return exitReason.NONE;
  vmcs.vm_exit_reason = exitReason.INVALID_GUEST_STATE;
  return exitFor(vmcs, exitReason.INVALID_GUEST_STATE, 0);
};

/** The transition into the guest: everything before its first instruction. Part of vmEntry. */
export function* enterGuest(m: Machine, vcpuIndex: number, program: Program): Body<number> {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield m.step('VM entry');
  const failure = checkEntry(m, vcpuIndex);
  if (failure !== exitReason.NONE) return failure;
  vcpu.stat.vm_entries++;
  vcpu.non_root = true;
  m.actor[m.current]!.level = vcpu.guest_mode ? level.L2 : level.L1;
  startPreemptionTimer(m, vcpuIndex);
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

/** Bookkeeping of the checks: what the CPU wrote for L2 has to be in the dirty log from now on. */
const noteWritesOfL2 = (m: Machine, vcpu: number): void => {
  const { spec } = m.vcpu[vcpu]!;
  if (spec.vapic_written) {
    spec.vapic_written = false;
    spec.vapic_unlogged = true;
  }
  if (spec.pi_desc_written) {
    spec.pi_desc_written = false;
    spec.pi_desc_unlogged = true;
  }
};

/** The transition back to the host. Part of vmEntry. */
export function* leaveGuest(m: Machine, vcpuIndex: number, reason: number): Body<void> {
  const vcpu = m.vcpu[vcpuIndex]!;
  const vmcs = currentVmcs(m, vcpuIndex);
  yield m.step('VM exit');
  ceaseRecognition(m, vcpuIndex);
  vcpu.non_root = false;
  vcpu.spec.left_guest++;
  noteWritesOfL2(m, vcpuIndex);
  vcpu.stat.vm_exits++;
  vmcs.vm_exit_reason = reason;
  // The event to inject is used up: an entry that shall inject one says so again.
  if (vmcs.vm_entry_intr_info >= INTR_INFO_VALID) vmcs.vm_entry_intr_info -= INTR_INFO_VALID;
  m.actor[m.current]!.level = level.L0;
}

const wakes = (m: Machine, vcpu: number): boolean =>
  isInterruptPending(m, m.vcpu[vcpu]!.cpu) || preemptionTimerExpired(m, vcpu);

/**
 * Enters the guest and runs it until something makes it exit. Interrupts of the host stay off:
 * one that arrives is seen at the next instruction boundary, which is not a step of its own.
 * Gives the exit reason; VMFAIL and INVALID_GUEST_STATE mean that there was no entry.
 * @sdm 27 VM entries, 28 VM exits
 * @omits other checks of guest and host state, INIT, SIPI, SMI
 */
export const vmEntry = sdm(
  '27',
  function* vmEntry(m: Machine, vcpuIndex: number, program: Program) {
    let reason: number = yield* enterGuest(m, vcpuIndex, program);
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
    yield* leaveGuest(m, vcpuIndex, reason);
    return reason;
  },
);
