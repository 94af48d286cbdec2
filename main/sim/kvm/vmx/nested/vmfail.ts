/** How a VMX instruction of L1 ends: RFLAGS.CF and ZF, and the error number in vmcs12. */
import { skipInstruction } from '../../../hw/guest_program.ts';
import { INVALID_GPA } from '../../../state/addresses.ts';
import type { Program } from '../../../state/program.ts';
import type { Machine } from '../../../steps.ts';
import { nested_vmx_is_evmptr12_valid } from './evmcs.ts';

const setFlags = (m: Machine, vcpu: number, cf: boolean, zf: boolean): void => {
  const { guest } = m.vcpu[vcpu]!;
  if (guest.rflags_cf !== cf) guest.rflags_cf = cf;
  if (guest.rflags_zf !== zf) guest.rflags_zf = zf;
};

/** The instruction has completed. @kvm arch/x86/kvm/vmx/nested.c: nested_vmx_succeed */
export const nested_vmx_succeed = (m: Machine, vcpu: number, program: Program): void => {
  setFlags(m, vcpu, false, false);
  skipInstruction(m, program);
};

/** CF: there is no current VMCS. @kvm arch/x86/kvm/vmx/nested.c: nested_vmx_failInvalid */
export const nested_vmx_failInvalid = (m: Machine, vcpu: number, program: Program): void => {
  setFlags(m, vcpu, true, false);
  skipInstruction(m, program);
};

/**
 * The flags and the error number alone: the guest stands behind the instruction already.
 * @kvm arch/x86/kvm/vmx/nested.c: nested_vmx_failValid
 */
export const failValid = (m: Machine, vcpu: number, error: number): void => {
  const { nested } = m.vcpu[vcpu]!;
  nested.cached_vmcs12.vm_instruction_error = error;
  if (nested_vmx_is_evmptr12_valid(m, vcpu)) nested.need_vmcs12_to_shadow_sync = true;
  setFlags(m, vcpu, false, true);
};

/**
 * VMfailValid with an error of `vmInstructionError`; VMfailInvalid where no VMCS could hold it.
 * @kvm arch/x86/kvm/vmx/nested.c: nested_vmx_fail
 */
export const nested_vmx_fail = (
  m: Machine,
  vcpu: number,
  program: Program,
  error: number,
): void => {
  const { current_vmptr } = m.vcpu[vcpu]!.nested;
  if (current_vmptr === INVALID_GPA && !nested_vmx_is_evmptr12_valid(m, vcpu)) {
    nested_vmx_failInvalid(m, vcpu, program);
    return;
  }
  failValid(m, vcpu, error);
  skipInstruction(m, program);
};
