/** Who handles an exit of L2: KVM, or L1. */
import { currentVmcs, primaryOn } from '../../../hw/vmcs.ts';
import type { Program } from '../../../state/program.ts';
import { cpuControl, exitReason } from '../../../state/vmcs.ts';
import { kvm, type Machine } from '../../../steps.ts';
import { msrAccessAt } from '../../decode.ts';
import { readGuestWord } from './vmcs12.ts';
import { __nested_vmx_vmexit, exitTo } from './vmexit.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** Exits that belong to KVM whatever L1 wants. @kvm nested.c: nested_vmx_l0_wants_exit */
const l0Wants: ReadonlySet<number> = new Set([
  exitReason.EXTERNAL_INTERRUPT,
  exitReason.EPT_VIOLATION,
  exitReason.EPT_MISCONFIG,
  exitReason.PREEMPTION_TIMER,
]);

/** Exits that tell of an instruction of L2, which L1 may skip. */
const ofInstruction: ReadonlySet<number> = new Set([
  exitReason.CPUID,
  exitReason.HLT,
  exitReason.VMCALL,
  exitReason.CR_ACCESS,
  exitReason.RDMSR,
  exitReason.WRMSR,
  exitReason.APIC_ACCESS,
  exitReason.VMCLEAR,
  exitReason.VMLAUNCH,
  exitReason.VMPTRLD,
  exitReason.VMREAD,
  exitReason.VMRESUME,
  exitReason.VMWRITE,
  exitReason.VMXOFF,
  exitReason.VMXON,
]);

const toCr8 = 0x08;
/** The bitmap has the low MSRs, reads first, then writes 2 KiB behind. */
const lastLowMsr = 0x1fff;
const bytesOfReads = 2048;

/** @kvm nested.c: nested_vmx_l1_wants_exit */
const l1Wants = (m: Machine, vcpu: number, reason: number): boolean => {
  const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
  switch (reason) {
    case exitReason.HLT:
      return primaryOn(vmcs12, cpuControl.HLT);
    case exitReason.INTERRUPT_WINDOW:
      return primaryOn(vmcs12, cpuControl.INTR_WINDOW);
    case exitReason.NMI_WINDOW:
      return primaryOn(vmcs12, cpuControl.NMI_WINDOW);
    case exitReason.TPR_BELOW_THRESHOLD:
      return primaryOn(vmcs12, cpuControl.TPR_SHADOW);
    case exitReason.CR_ACCESS:
      return currentVmcs(m, vcpu).exit_qualification === toCr8
        ? primaryOn(vmcs12, cpuControl.CR8_LOAD)
        : primaryOn(vmcs12, cpuControl.CR8_STORE);
    default:
      return true;
  }
};

/** RDMSR and WRMSR exit to L1 if it has no bitmap or its bitmap says so. */
const nested_vmx_exit_handled_msr = kvm(
  file,
  function* nested_vmx_exit_handled_msr(m: Machine, vcpu: number, msr: number, write: boolean) {
    const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
    if (!primaryOn(vmcs12, cpuControl.MSR_BITMAPS) || msr > lastLowMsr) return true;
    const byte = (write ? bytesOfReads : 0) + (msr >>> 5) * 4;
    const word: number = yield* readGuestWord(m, vmcs12.msr_bitmap + byte);
    return (word & (1 << (msr & 31))) !== 0;
  },
);

/**
 * Gives an exit of L2 to L1 if it is L1's; says whether it did.
 * @omits exceptions, and what L1 can ask for apart from its APIC
 */
export const nested_vmx_reflect_vmexit = kvm(
  file,
  function* nested_vmx_reflect_vmexit(m: Machine, vcpu: number, reason: number, program: Program) {
    if (reason === exitReason.VMFAIL) {
      // L2 counts as entered by now, so that it has to be left.
      yield* __nested_vmx_vmexit(m, vcpu, exitTo(reason));
      return true;
    }
    yield m.step('is exit {reason} L0 business, or does L1 want it?', reason);
    if (l0Wants.has(reason)) return false;
    const isMsr = reason === exitReason.RDMSR || reason === exitReason.WRMSR;
    const { msr } = msrAccessAt(m, program);
    const wanted: boolean = isMsr
      ? yield* nested_vmx_exit_handled_msr(m, vcpu, msr, reason === exitReason.WRMSR)
      : l1Wants(m, vcpu, reason);
    if (!wanted) return false;
    const { exit_qualification: qualification } = currentVmcs(m, vcpu);
    const instruction = ofInstruction.has(reason) ? 1 : 0;
    yield* __nested_vmx_vmexit(m, vcpu, exitTo(reason, { qualification, instruction }));
    return true;
  },
);
