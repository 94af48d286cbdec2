/** VMCS fields. A field is its encoding, and the encoding holds the width. */
import { bits, record, u16, u32, u64 } from '../arena/fields.ts';

export const pinControl = {
  EXT_INTR: 0,
  NMI: 3,
  VIRTUAL_NMIS: 5,
  PREEMPTION_TIMER: 6,
  POSTED_INTR: 7,
} as const;

export const cpuControl = {
  INTR_WINDOW: 2,
  HLT: 7,
  CR8_LOAD: 19,
  CR8_STORE: 20,
  TPR_SHADOW: 21,
  NMI_WINDOW: 22,
  UNCOND_IO: 24,
  IO_BITMAPS: 25,
  TERTIARY: 17,
  MSR_BITMAPS: 28,
  SECONDARY: 31,
} as const;

export const secondaryControl = {
  VIRTUALIZE_APIC_ACCESSES: 0,
  EPT: 1,
  VIRTUALIZE_X2APIC_MODE: 4,
  VPID: 5,
  APIC_REGISTER_VIRT: 8,
  VIRTUAL_INTR_DELIVERY: 9,
} as const;

export const tertiaryControl = { IPI_VIRT: 4 } as const;

export const exitControl = { ACK_INTR_ON_EXIT: 15 } as const;

export const exitReason = {
  NONE: 0xffff,
  /** VMfailValid: no entry took place; vm_instruction_error says why */
  VMFAIL: 0xfffe,
  /** the entry failed for the state of the guest */
  INVALID_GUEST_STATE: 0x8000_0021,
  EXCEPTION_NMI: 0,
  EXTERNAL_INTERRUPT: 1,
  INIT_SIGNAL: 3,
  SIPI_SIGNAL: 4,
  INTERRUPT_WINDOW: 7,
  NMI_WINDOW: 8,
  CPUID: 10,
  HLT: 12,
  VMCALL: 18,
  VMCLEAR: 19,
  VMLAUNCH: 20,
  VMPTRLD: 21,
  VMPTRST: 22,
  VMREAD: 23,
  VMRESUME: 24,
  VMWRITE: 25,
  VMXOFF: 26,
  VMXON: 27,
  CR_ACCESS: 28,
  RDMSR: 31,
  WRMSR: 32,
  MONITOR_TRAP_FLAG: 37,
  TPR_BELOW_THRESHOLD: 43,
  APIC_ACCESS: 44,
  EOI_INDUCED: 45,
  EPT_VIOLATION: 48,
  EPT_MISCONFIG: 49,
  INVEPT: 50,
  PREEMPTION_TIMER: 52,
  INVVPID: 53,
  APIC_WRITE: 56,
} as const;

/** Bits of guest_interruptibility. */
export const interruptibility = { STI: 1, MOV_SS: 2, SMI: 4, NMI: 8 } as const;
/** STI and MOV SS hold interrupts back for one more instruction. */
export const interruptShadow = interruptibility.STI | interruptibility.MOV_SS;

export const activityState = { ACTIVE: 0, HLT: 1, SHUTDOWN: 2, WAIT_SIPI: 3 } as const;

/** Types of event in VM_ENTRY_INTR_INFO, VM_EXIT_INTR_INFO and IDT_VECTORING_INFO. */
export const eventType = {
  EXTERNAL_INTERRUPT: 0,
  RESERVED: 1,
  NMI: 2,
  EXCEPTION: 3,
  SOFT_INTERRUPT: 4,
} as const;
/** Bit 31 of them: there is an event. */
export const INTR_INFO_VALID = 0x8000_0000;

/** @sdm 31.4 VM Instruction Error Numbers */
export const vmInstructionError = {
  NONE: 0,
  VMCLEAR_INVALID_ADDRESS: 2,
  VMCLEAR_VMXON_POINTER: 3,
  VMLAUNCH_NONCLEAR_VMCS: 4,
  VMRESUME_NONLAUNCHED_VMCS: 5,
  INVALID_CONTROL_FIELD: 7,
  INVALID_HOST_STATE_FIELD: 8,
  VMPTRLD_INVALID_ADDRESS: 9,
  VMPTRLD_VMXON_POINTER: 10,
  VMPTRLD_INCORRECT_VMCS_REVISION_ID: 11,
  UNSUPPORTED_VMCS_COMPONENT: 12,
  VMWRITE_READ_ONLY_VMCS_COMPONENT: 13,
  VMXON_IN_VMX_ROOT_OPERATION: 15,
  EVENTS_BLOCKED_BY_MOV_SS: 26,
  INVALID_OPERAND_TO_INVEPT_INVVPID: 28,
} as const;

/** The fields that the model uses, in order of their encodings. */
export const Vmcs = record('vmcs', 'virtual-machine control structure', {
  virtual_processor_id: u16({ tag: 0x0000 }, 'VPID: tag of the TLB entries of the guest'),
  posted_intr_nv: u16(
    { tag: 0x0002, as: 'vector' },
    'vector that starts posted-interrupt processing',
  ),
  last_pid_pointer_index: u16({ tag: 0x0008, as: 'dec' }, 'last index of the PID-pointer table'),
  guest_intr_status: u16({ tag: 0x0810 }, 'RVI in bits 7:0, SVI in bits 15:8'),
  virtual_apic_page_addr: u64(
    { tag: 0x2012, as: 'hpa' },
    'host-physical address of the virtual-APIC page',
  ),
  apic_access_addr: u64(
    { tag: 0x2014, as: 'hpa' },
    'host-physical page whose accesses the CPU treats as APIC accesses',
  ),
  posted_intr_desc_addr: u64(
    { tag: 0x2016, as: 'hpa' },
    'host-physical address of the posted-interrupt descriptor',
  ),
  ept_pointer: u64({ tag: 0x201a, as: 'hpa' }, 'EPT root in use; its address bits are the EP4TA'),
  eoi_exit_bitmap0: bits(64, { tag: 0x201c, as: 'vector' }, 'vectors 0x00 to 0x3f whose EOI exits'),
  eoi_exit_bitmap1: bits(
    64,
    { tag: 0x201e, as: 'vector' },
    'vectors 0x40 to 0x7f, by their low six bits',
  ),
  eoi_exit_bitmap2: bits(
    64,
    { tag: 0x2020, as: 'vector' },
    'vectors 0x80 to 0xbf, by their low six bits',
  ),
  eoi_exit_bitmap3: bits(
    64,
    { tag: 0x2022, as: 'vector' },
    'vectors 0xc0 to 0xff, by their low six bits',
  ),
  tertiary_vm_exec_control: bits(64, { tag: 0x2034, as: tertiaryControl }, 'tertiary controls'),
  pid_pointer_table: u64(
    { tag: 0x2042, as: 'hpa' },
    'host-physical address of the PID-pointer table: 8 bytes for each APIC ID, bit 0 valid',
  ),
  guest_physical_address: u64({ tag: 0x2400, as: 'gpa' }, 'GPA of the last EPT violation'),
  pin_based_vm_exec_control: bits(32, { tag: 0x4000, as: pinControl }, 'pin-based controls'),
  cpu_based_vm_exec_control: bits(
    32,
    { tag: 0x4002, as: cpuControl },
    'primary processor-based controls',
  ),
  vm_exit_controls: bits(32, { tag: 0x400c, as: exitControl }, 'VM-exit controls'),
  vm_entry_intr_info: u32(
    { tag: 0x4016 },
    'event that the next VM entry injects: valid 31, type 10:8, vector 7:0',
  ),
  tpr_threshold: u32({ tag: 0x401c }, 'a TPR below it causes exit 43'),
  secondary_vm_exec_control: bits(
    32,
    { tag: 0x401e, as: secondaryControl },
    'secondary processor-based controls',
  ),
  vm_instruction_error: u32(
    { tag: 0x4400, as: vmInstructionError },
    'why the last VM instruction failed',
  ),
  vm_exit_reason: u32({ tag: 0x4402, as: exitReason }, 'why the last VM exit happened'),
  vm_exit_intr_info: u32(
    { tag: 0x4404 },
    'the interrupt that caused the exit, if it was acknowledged',
  ),
  idt_vectoring_info: u32({ tag: 0x4408 }, 'event whose delivery the exit broke off'),
  guest_interruptibility: u32({ tag: 0x4824 }, 'blocking by STI 0, MOV SS 1, SMI 2, NMI 3'),
  guest_activity_state: u32({ tag: 0x4826 }, 'active 0, HLT 1, shutdown 2, wait-for-SIPI 3'),
  vmx_preemption_timer_value: u32(
    { tag: 0x482e, as: 'dec' },
    'count that VM entry loads into the VMX preemption timer, one for 32 cycles of the TSC',
  ),
  exit_qualification: u64({ tag: 0x6400 }, 'details of the last VM exit'),
});

/** MSRs besides those of the x2APIC that KVM lets L2 reach, if L1 does; by bit of `other_*`. */
export const otherMsr = {
  SPEC_CTRL: 0,
  PRED_CMD: 1,
  FLUSH_CMD: 2,
  FS_BASE: 3,
  GS_BASE: 4,
  KERNEL_GS_BASE: 5,
} as const;

export const MsrBitmap = record('msr_bitmap', 'the MSR bitmap: x2APIC and a few others', {
  x2apic_read: bits(256, 'RDMSR of 0x800 + n is intercepted'),
  x2apic_write: bits(256, 'WRMSR of 0x800 + n is intercepted'),
  other_read: bits(32, { as: otherMsr }, 'RDMSR of another MSR is intercepted'),
  other_write: bits(32, { as: otherMsr }, 'WRMSR of another MSR is intercepted'),
});
