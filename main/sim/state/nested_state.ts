/** What KVM_GET_NESTED_STATE gives to user space and KVM_SET_NESTED_STATE takes from it. */
import { bits, counter, nested, record, u64 } from '../arena/fields.ts';
import { Vmcs12 } from './vmcs12.ts';

/** Bytes of struct kvm_nested_state, and with a vmcs12 behind it. */
export const NESTED_STATE_HEADER = 128;
export const NESTED_STATE_WITH_VMCS12 = NESTED_STATE_HEADER + 4096;

/** KVM_STATE_NESTED_*, bit numbers. @kvm arch/x86/include/uapi/asm/kvm.h */
export const nestedStateFlag = {
  GUEST_MODE: 0,
  RUN_PENDING: 1,
  EVMCS: 2,
  MTF_PENDING: 3,
  GIF_SET: 8,
} as const;

/** KVM_STATE_NESTED_SMM_*, bit numbers. */
export const nestedSmmFlag = { GUEST_MODE: 0, VMXON: 1 } as const;

/** KVM_STATE_VMX_*, bit numbers. */
export const nestedVmxFlag = { PREEMPTION_TIMER_DEADLINE: 0 } as const;

export const NestedState = record('kvm_nested_state', 'struct kvm_nested_state in user space', {
  flags: bits(32, { as: nestedStateFlag }, 'KVM_STATE_NESTED_*'),
  format: counter('0: VMX'),
  size: counter('bytes, the header included'),
  vmxon_pa: u64({ as: 'gpa' }, 'L1 address of the VMXON region; all ones: none'),
  vmcs12_pa: u64({ as: 'gpa' }, 'L1 address of the current VMCS; all ones: none'),
  smm_flags: bits(32, { as: nestedSmmFlag }, 'KVM_STATE_NESTED_SMM_*'),
  vmx_flags: bits(32, { as: nestedVmxFlag }, 'KVM_STATE_VMX_*'),
  vmcs12: nested(Vmcs12, 'the data behind the header'),
});

/** The fields of the header, in the order of their numbers in a scenario. */
export const nestedStateHeader = [
  'flags',
  'format',
  'size',
  'vmxon_pa',
  'vmcs12_pa',
  'smm_flags',
  'vmx_flags',
] as const satisfies readonly (keyof typeof NestedState.fields)[];

export const nestedStateFields: Readonly<Record<string, number>> = Object.fromEntries(
  nestedStateHeader.map((name, index) => [name, index]),
);
