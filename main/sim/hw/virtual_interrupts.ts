/**
 * Virtual interrupts: how TPR, PPR, EOI and self-IPIs are virtualized, when a pending interrupt is
 * recognized, and how it is delivered. Words of the virtual-APIC page are memory that other CPUs
 * see, so each change of one is a step; RVI, SVI and the recognition belong to the CPU alone.
 */
import { APIC_IRR, APIC_ISR, APIC_PROCPRI, APIC_TASKPRI } from '../state/apicdef.ts';
import { classOf, priorityOf } from '../state/priority.ts';
import type { Program } from '../state/program.ts';
import { cpuControl, exitReason, secondaryControl } from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import {
  clearVector,
  highestVector,
  readVirtualApic,
  setVector,
  writeVirtualApic,
} from './apic_virtualization.ts';
import { takeInterrupt } from './guest_interrupts.ts';
import {
  currentVmcs,
  exitFor,
  primaryOn,
  rviOf,
  secondaryOn,
  setRvi,
  setSvi,
  sviOf,
  type VmcsView,
} from './vmcs.ts';

const setRecognized = (m: Machine, vcpu: number, recognized: boolean): void => {
  const { guest } = m.vcpu[vcpu]!;
  if (guest.virtual_interrupt_pending !== recognized) {
    guest.virtual_interrupt_pending = recognized;
  }
};

/** Nothing is recognized any more: it was delivered, or the guest was left. */
export const ceaseRecognition = (m: Machine, vcpu: number): void => setRecognized(m, vcpu, false);

/**
 * Decides whether a virtual interrupt is pending. Only VM entry, TPR, EOI and self-IPI
 * virtualization and posted-interrupt processing ask; a change of RVI or VPPR alone does not.
 * @sdm 30.2.1 Evaluation of Pending Virtual Interrupts
 */
export const evaluatePendingInterrupts = (m: Machine, vcpu: number): void => {
  const vmcs = currentVmcs(m, vcpu);
  const ppr = readVirtualApic(m, vcpu, APIC_PROCPRI);
  const recognized =
    !primaryOn(vmcs, cpuControl.INTR_WINDOW) && classOf(rviOf(vmcs)) > classOf(ppr);
  setRecognized(m, vcpu, recognized);
};

/**
 * VPPR becomes the higher of the task priority and the class in service. Done at VM entry, TPR and
 * EOI virtualization only; the evaluation that follows belongs to the same step.
 * @sdm 30.1.3 PPR Virtualization
 */
export const virtualizePpr = (m: Machine, vcpu: number): void => {
  const vtpr = readVirtualApic(m, vcpu, APIC_TASKPRI);
  const ppr = priorityOf(vtpr, sviOf(currentVmcs(m, vcpu)));
  if (readVirtualApic(m, vcpu, APIC_PROCPRI) !== ppr) {
    writeVirtualApic(m, vcpu, APIC_PROCPRI, ppr);
  }
};

/** The same as a step of its own. */
export const pprVirtualization = sdm(
  '30.1.3',
  function* pprVirtualization(m: Machine, vcpu: number) {
    yield m.step('VPPR from VTPR and SVI');
    virtualizePpr(m, vcpu);
  },
);

/**
 * Is VTPR in a lower class than the threshold? Then the hypervisor wants to know. A threshold of 0
 * asks for nothing, so that the page is not read.
 */
export const tprBelowThreshold = (m: Machine, vcpu: number, vmcs: VmcsView): boolean => {
  const threshold = vmcs.tpr_threshold & 0xf;
  return threshold !== 0 && classOf(readVirtualApic(m, vcpu, APIC_TASKPRI)) < threshold;
};

/** What follows a write of VTPR; gives an exit reason, NONE if the guest goes on. */
export const tprVirtualization = sdm(
  '30.1.2',
  function* tprVirtualization(m: Machine, vcpu: number) {
    const vmcs = currentVmcs(m, vcpu);
    if (secondaryOn(vmcs, secondaryControl.VIRTUAL_INTR_DELIVERY)) {
      yield m.step('VPPR from VTPR and SVI');
      virtualizePpr(m, vcpu);
      evaluatePendingInterrupts(m, vcpu);
    } else if (tprBelowThreshold(m, vcpu, vmcs)) {
      return exitFor(vmcs, exitReason.TPR_BELOW_THRESHOLD, 0);
    }
    return exitReason.NONE as number;
  },
);

/** Does the hypervisor want to see the end of this interrupt? */
const inEoiExitBitmap = (vmcs: VmcsView, vector: number): boolean => {
  switch (vector >>> 6) {
    case 0:
      return vmcs.eoi_exit_bitmap0.has(vector & 63);
    case 1:
      return vmcs.eoi_exit_bitmap1.has(vector & 63);
    case 2:
      return vmcs.eoi_exit_bitmap2.has(vector & 63);
    default:
      return vmcs.eoi_exit_bitmap3.has(vector & 63);
  }
};

/** The interrupt in service ends; gives EOI_INDUCED if its vector is in the EOI-exit bitmap. */
export const eoiVirtualization = sdm(
  '30.1.4',
  function* eoiVirtualization(m: Machine, vcpu: number) {
    const vmcs = currentVmcs(m, vcpu);
    const vector = sviOf(vmcs);
    yield m.step('clear VISR[{vector}]; SVI = the next below it', vector);
    if (highestVector(m, vcpu, APIC_ISR) !== vector) m.vcpu[vcpu]!.spec.wrong_eois++;
    clearVector(m, vcpu, APIC_ISR, vector);
    setSvi(vmcs, highestVector(m, vcpu, APIC_ISR));
    yield* pprVirtualization(m, vcpu);
    if (inEoiExitBitmap(vmcs, vector)) return exitFor(vmcs, exitReason.EOI_INDUCED, vector);
    evaluatePendingInterrupts(m, vcpu);
    return exitReason.NONE as number;
  },
);

/** The guest sends an interrupt to itself. */
export const selfIpiVirtualization = sdm(
  '30.1.5',
  function* selfIpiVirtualization(m: Machine, vcpu: number, vector: number) {
    yield m.step('set VIRR[{vector}]; RVI = the higher', vector);
    setVector(m, vcpu, APIC_IRR, vector);
    const vmcs = currentVmcs(m, vcpu);
    setRvi(vmcs, Math.max(rviOf(vmcs), vector));
    evaluatePendingInterrupts(m, vcpu);
  },
);

/**
 * The recognized interrupt goes from VIRR to VISR and through the IDT. Between the clearing of its
 * bit and the look for the next one, somebody may request the same vector again.
 */
export const virtualInterruptDelivery = sdm(
  '30.2.2',
  function* virtualInterruptDelivery(m: Machine, vcpu: number, program: Program) {
    const vmcs = currentVmcs(m, vcpu);
    const vector = rviOf(vmcs);
    yield m.step('set VISR[{vector}]; SVI = {vector}', vector);
    setVector(m, vcpu, APIC_ISR, vector);
    setSvi(vmcs, vector);
    yield m.step('VPPR = class of {vector}', vector);
    writeVirtualApic(m, vcpu, APIC_PROCPRI, vector & 0xf0);
    yield m.step('clear VIRR[{vector}]', vector);
    clearVector(m, vcpu, APIC_IRR, vector);
    yield m.step('RVI = the highest in VIRR; through the IDT: {vector}', vector);
    setRvi(vmcs, highestVector(m, vcpu, APIC_IRR));
    ceaseRecognition(m, vcpu);
    takeInterrupt(m, vcpu, vector, program);
  },
);
