/**
 * The VMCS that L1 keeps for an L2, at the offsets that KVM gives its fields: what stands in guest
 * memory, and KVM's copy of it.
 */
import { bits, record, u16, u32, u64 } from '../arena/fields.ts';
import {
  activityState,
  cpuControl,
  exitControl,
  exitReason,
  pinControl,
  secondaryControl,
  vmInstructionError,
} from './vmcs.ts';

/** What VMPTRLD wants to find in the first four bytes. */
export const VMCS12_REVISION = 0x11e5_7ed0;
/** Bit 31 of the same bytes: a shadow VMCS, which VMREAD and VMWRITE of a guest may reach. */
export const SHADOW_VMCS = 0x8000_0000;
/** Bytes that have a meaning; the rest of the page is left alone. */
export const vmcs12Bytes = 1000;

/** @kvm arch/x86/kvm/vmx/vmcs12.h: struct vmcs12 */
export const Vmcs12 = record(
  'vmcs12',
  'struct vmcs12: the VMCS of an L2',
  {
    revision_id: u32({ at: 0 }, 'VMCS12_REVISION, 0x11e57ed0; bit 31: a shadow VMCS'),
    abort: u32({ at: 4 }, 'VMX-abort indicator'),
    launch_state: u32({ at: 8 }, '0 after VMCLEAR, 1 after VMLAUNCH'),
    msr_bitmap: u64({ at: 56, as: 'gpa', tag: 0x2004 }, 'L1 address of its MSR bitmap'),
    virtual_apic_page_addr: u64(
      { at: 96, as: 'gpa', tag: 0x2012 },
      'L1 address of the virtual-APIC page of L2',
    ),
    apic_access_addr: u64(
      { at: 104, as: 'gpa', tag: 0x2014 },
      'L1 address of the APIC-access page of L2',
    ),
    posted_intr_desc_addr: u64(
      { at: 112, as: 'gpa', tag: 0x2016 },
      'L1 address of the posted-interrupt descriptor of L2',
    ),
    ept_pointer: u64({ at: 120, as: 'gpa', tag: 0x201a }, 'EPT12, the tables that L1 keeps'),
    eoi_exit_bitmap0: bits(
      64,
      { at: 128, as: 'vector', tag: 0x201c },
      'vectors 0x00 to 0x3f whose EOI exits to L1',
    ),
    eoi_exit_bitmap1: bits(
      64,
      { at: 136, as: 'vector', tag: 0x201e },
      'vectors 0x40 to 0x7f, by their low six bits',
    ),
    eoi_exit_bitmap2: bits(
      64,
      { at: 144, as: 'vector', tag: 0x2020 },
      'vectors 0x80 to 0xbf, by their low six bits',
    ),
    eoi_exit_bitmap3: bits(
      64,
      { at: 152, as: 'vector', tag: 0x2022 },
      'vectors 0xc0 to 0xff, by their low six bits',
    ),
    guest_physical_address: u64(
      { at: 168, as: 'gpa', tag: 0x2400 },
      'L2 address of the EPT violation that L1 sees',
    ),
    vmcs_link_pointer: u64({ at: 176, as: 'gpa', tag: 0x2800 }, 'shadow VMCS, all ones: none'),
    exit_qualification: u64({ at: 408, tag: 0x6400 }, 'details of the exit'),
    guest_rip: u64({ at: 544, as: 'dec', tag: 0x681e }, 'the instruction that L2 stands at'),
    guest_rflags: u64({ at: 552, tag: 0x6820 }, 'RFLAGS of L2: IF is bit 9'),
    host_rip: u64({ at: 672, as: 'dec', tag: 0x6c16 }, 'where L1 goes on behind an exit'),
    pin_based_vm_exec_control: bits(
      32,
      { at: 744, as: pinControl, tag: 0x4000 },
      'pin-based controls',
    ),
    cpu_based_vm_exec_control: bits(
      32,
      { at: 748, as: cpuControl, tag: 0x4002 },
      'primary processor-based controls',
    ),
    vm_exit_controls: bits(32, { at: 768, as: exitControl, tag: 0x400c }, 'VM-exit controls'),
    vm_entry_controls: u32({ at: 780, tag: 0x4012 }, 'VM-entry controls'),
    vm_entry_intr_info_field: u32(
      { at: 788, tag: 0x4016 },
      'event that the next entry into L2 injects: valid 31, type 10:8, vector 7:0',
    ),
    tpr_threshold: u32({ at: 800, tag: 0x401c }, 'a TPR of L2 below it causes exit 43'),
    secondary_vm_exec_control: bits(
      32,
      { at: 804, as: secondaryControl, tag: 0x401e },
      'secondary processor-based controls',
    ),
    vm_instruction_error: u32(
      { at: 808, as: vmInstructionError, tag: 0x4400 },
      'why the last VM instruction of L1 failed',
    ),
    vm_exit_reason: u32({ at: 812, as: exitReason, tag: 0x4402 }, 'why L2 left to L1'),
    vm_exit_intr_info: u32({ at: 816, tag: 0x4404 }, 'the interrupt that caused the exit'),
    idt_vectoring_info_field: u32(
      { at: 824, tag: 0x4408 },
      'event whose delivery to L2 the exit broke off',
    ),
    vm_exit_instruction_len: u32(
      { at: 832, as: 'dec', tag: 0x440c },
      'instructions to skip for going on behind the one that exited: 0 or 1',
    ),
    guest_interruptibility_info: u32(
      { at: 912, tag: 0x4824 },
      'blocking by STI 0, MOV SS 1, SMI 2, NMI 3',
    ),
    guest_activity_state: u32(
      { at: 916, as: activityState, tag: 0x4826 },
      'active 0, HLT 1, shutdown 2, wait-for-SIPI 3',
    ),
    vmx_preemption_timer_value: u32({ at: 928, tag: 0x482e }, 'ticks that L2 may run'),
    virtual_processor_id: u16({ at: 960, tag: 0x0000 }, 'VPID that L1 gives L2'),
    posted_intr_nv: u16(
      { at: 962, as: 'vector', tag: 0x0002 },
      'vector by which L1 is told that something was posted for L2',
    ),
    guest_intr_status: u16({ at: 980, tag: 0x0810 }, 'RVI of L2 in bits 7:0, SVI in bits 15:8'),
    guest_pml_index: u16({ at: 996, tag: 0x0812 }, 'index into the page-modification log'),
  },
  1024,
);

/** The fields that VMREAD and VMWRITE can name, with their encodings. */
export const vmcs12Fields: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(Vmcs12.fields).flatMap(([name, { tag }]) =>
    tag === undefined ? [] : [[name, tag]],
  ),
);
