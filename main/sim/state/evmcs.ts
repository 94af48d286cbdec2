/**
 * Enlightened VMCSs of Hyper-V, version 1: where their fields are, and in which groups L1 tells of
 * changes.
 */
import { vmcs12Fields } from './vmcs12.ts';

/** HV_X64_MSR_VP_ASSIST_PAGE, and offsets in the page. @kvm include/hyperv/hvgdk_mini.h */
export const HV_X64_MSR_VP_ASSIST_PAGE = 0x4000_0073;
export const vpAssist = { ENLIGHTEN_VMENTRY: 40, CURRENT_NESTED_VMCS: 48 } as const;

/** What the first word may be, besides the revision of a VMCS. @kvm vmx/hyperv_evmcs.h */
export const KVM_EVMCS_VERSION = 1;

/** HV_VMX_ENLIGHTENED_CLEAN_FIELD_*, bit numbers. @kvm include/hyperv/hvgdk.h */
export const evmcsClean = {
  MSR_BITMAP: 1,
  CONTROL_GRP2: 2,
  CONTROL_GRP1: 3,
  CONTROL_PROC: 4,
  CONTROL_EVENT: 5,
  CONTROL_ENTRY: 6,
  CONTROL_XLAT: 9,
  GUEST_BASIC: 10,
  GUEST_GRP1: 11,
} as const;
export const EVMCS_CLEAN_ALL = 0xffff;

/** Offsets of what vmcs12 has not; bit 1 of the enlightenments: L1 tells of MSR-bitmap changes. */
export const evmcsOffset = { CLEAN_FIELDS: 824, ENLIGHTENMENTS: 836 } as const;
export const ENLIGHTENED_MSR_BITMAP = 1 << 1;

export interface EvmcsField {
  /** of vmcs12 */
  readonly encoding: number;
  readonly offset: number;
  /** group in which L1 tells of a change; −1: always copied; undefined: KVM only writes it */
  readonly clean: number | undefined;
  /** does KVM write it back for L1? */
  readonly toL1: boolean;
}

const field = (
  name: string,
  offset: number,
  clean: number | undefined,
  toL1: boolean,
): EvmcsField => ({ encoding: vmcs12Fields[name]!, offset, clean, toL1 });

const ALWAYS = -1;
const c = evmcsClean;

/**
 * What interrupts and the APIC have to do with. There are no fields for APIC accesses,
 * virtual-interrupt delivery and posted interrupts: an L1 with such a VMCS cannot use them.
 * @kvm include/hyperv/hvgdk.h: struct hv_enlightened_vmcs
 */
export const evmcsFields: readonly EvmcsField[] = [
  field('tpr_threshold', 812, ALWAYS, false),
  field('guest_rip', 816, ALWAYS, true),
  field('guest_rflags', 776, c.GUEST_BASIC, true),
  field('guest_interruptibility_info', 784, c.GUEST_BASIC, true),
  field('cpu_based_vm_exec_control', 788, c.CONTROL_PROC, true),
  field('vm_entry_controls', 796, c.CONTROL_ENTRY, true),
  field('vm_entry_intr_info_field', 800, c.CONTROL_EVENT, true),
  field('pin_based_vm_exec_control', 92, c.CONTROL_GRP1, false),
  field('vm_exit_controls', 96, c.CONTROL_GRP1, false),
  field('secondary_vm_exec_control', 100, c.CONTROL_GRP1, false),
  field('msr_bitmap', 120, c.MSR_BITMAP, false),
  field('virtual_apic_page_addr', 408, c.CONTROL_GRP2, false),
  field('ept_pointer', 624, c.CONTROL_XLAT, false),
  field('virtual_processor_id', 632, c.CONTROL_XLAT, false),
  field('guest_activity_state', 504, c.GUEST_GRP1, true),
  field('vm_instruction_error', 688, undefined, true),
  field('vm_exit_reason', 692, undefined, true),
  field('vm_exit_intr_info', 696, undefined, true),
  field('idt_vectoring_info_field', 704, undefined, true),
  field('vm_exit_instruction_len', 712, undefined, true),
  field('exit_qualification', 720, undefined, true),
];
