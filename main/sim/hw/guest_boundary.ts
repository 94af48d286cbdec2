/** What happens between two instructions of the guest: windows, virtual and physical interrupts. */
import type { Program } from '../state/program.ts';
import {
  cpuControl,
  exitControl,
  exitReason,
  INTR_INFO_VALID,
  interruptibility,
  pinControl,
} from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { interruptsOpen, takeInterrupt } from './guest_interrupts.ts';
import {
  acknowledgeVector,
  highestPendingVector,
  isInterruptPending,
} from './physical_interrupts.ts';
import { postedInterruptProcessing } from './posted_interrupts.ts';
import { preemptionTimerExpired } from './preemption_timer.ts';
import { virtualInterruptDelivery } from './virtual_interrupts.ts';
import { currentVmcs, exitFor, pinOn, primaryOn } from './vmcs.ts';

/** What comes first at a boundary. */
export const boundaryEvent = {
  NONE: 0,
  PREEMPTION_TIMER: 1,
  NMI_WINDOW: 2,
  INTERRUPT_WINDOW: 3,
  VIRTUAL_INTERRUPT: 4,
  PHYSICAL_INTERRUPT: 5,
} as const;

/**
 * The event with the highest priority; looking for it changes nothing.
 * @sdm Table 26-1 Exit-qualification and priority of events; 30.2.2
 */
export const eventAtBoundary = (m: Machine, vcpuIndex: number): number => {
  const vmcs = currentVmcs(m, vcpuIndex);
  const vcpu = m.vcpu[vcpuIndex]!;
  if (preemptionTimerExpired(m, vcpuIndex)) return boundaryEvent.PREEMPTION_TIMER;
  if (
    primaryOn(vmcs, cpuControl.NMI_WINDOW) &&
    (vmcs.guest_interruptibility & interruptibility.NMI) === 0
  ) {
    return boundaryEvent.NMI_WINDOW;
  }
  const open = interruptsOpen(m, vcpuIndex);
  const window = primaryOn(vmcs, cpuControl.INTR_WINDOW);
  if (window && open) return boundaryEvent.INTERRUPT_WINDOW;
  if (!window && open && vcpu.guest.virtual_interrupt_pending) {
    return boundaryEvent.VIRTUAL_INTERRUPT;
  }
  // Without external-interrupt exiting the guest takes interrupts itself, when it allows them.
  return isInterruptPending(m, vcpu.cpu) && (open || pinOn(vmcs, pinControl.EXT_INTR))
    ? boundaryEvent.PHYSICAL_INTERRUPT
    : boundaryEvent.NONE;
};

/**
 * An interrupt of the physical CPU: a notification is processed, everything else goes to the
 * hypervisor, which finds it pending, or acknowledged if it asked for that.
 * @sdm 26.2 Other Causes of VM Exits, 30.6 Posted-Interrupt Processing
 */
export const physicalInterrupt = sdm(
  '26.2',
  function* physicalInterrupt(m: Machine, vcpuIndex: number, program: Program) {
    const vmcs = currentVmcs(m, vcpuIndex);
    const { cpu } = m.vcpu[vcpuIndex]!;
    const vector = highestPendingVector(m, cpu);
    if (!pinOn(vmcs, pinControl.EXT_INTR)) {
      yield m.step('the guest takes vector {vector} of the CPU', vector);
      acknowledgeVector(m, cpu, vector);
      takeInterrupt(m, vcpuIndex, vector, program);
      return exitReason.NONE as number;
    }
    if (pinOn(vmcs, pinControl.POSTED_INTR) && vector === vmcs.posted_intr_nv) {
      yield* postedInterruptProcessing(m, vcpuIndex, vector);
      return exitReason.NONE as number;
    }
    if (vmcs.vm_exit_controls.has(exitControl.ACK_INTR_ON_EXIT)) {
      acknowledgeVector(m, cpu, vector);
      vmcs.vm_exit_intr_info = INTR_INFO_VALID + vector;
    }
    return exitFor(vmcs, exitReason.EXTERNAL_INTERRUPT, 0);
  },
);

/** Takes what `eventAtBoundary` found; gives the exit reason, NONE if the guest goes on. */
export const takeBoundaryEvent = sdm(
  '26.2',
  function* takeBoundaryEvent(m: Machine, vcpu: number, event: number, program: Program) {
    switch (event) {
      case boundaryEvent.PREEMPTION_TIMER:
        return exitFor(currentVmcs(m, vcpu), exitReason.PREEMPTION_TIMER, 0);
      case boundaryEvent.NMI_WINDOW:
        return exitFor(currentVmcs(m, vcpu), exitReason.NMI_WINDOW, 0);
      case boundaryEvent.INTERRUPT_WINDOW:
        return exitFor(currentVmcs(m, vcpu), exitReason.INTERRUPT_WINDOW, 0);
      case boundaryEvent.VIRTUAL_INTERRUPT:
        yield* virtualInterruptDelivery(m, vcpu, program);
        return exitReason.NONE as number;
      default:
        return yield* physicalInterrupt(m, vcpu, program);
    }
  },
);
