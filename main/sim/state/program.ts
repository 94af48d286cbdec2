/** What actors can be told to do: the instructions of a scenario, declared once. */

import { INVALID_GPA } from './addresses.ts';
import type { VcpuConfig, VmConfig } from './config.ts';
import { nestedStateFields } from './nested_state.ts';
import {
  type ActorKind,
  address,
  cpu,
  gsi,
  guestDebug,
  high,
  type InstructionSpec,
  low,
  memslot,
  msr,
  outsideRun,
  page,
  pin,
  reason,
  region,
  registerOffset,
  registerValue,
  slotAddress,
  value,
  vcpu,
  vector,
  vmcsField,
  word,
} from './operands.ts';
import { mpState } from './vcpu.ts';

export { usualVm, type VcpuConfig, type VmConfig } from './config.ts';
export {
  type ActorKind,
  guestDebug,
  type InstructionSpec,
  type Operand,
  type OperandKind,
} from './operands.ts';

export const instructionSpecs = [
  {
    op: 'read',
    by: 'vcpu',
    operands: [address(4)],
    doc: 'the guest reads 4 bytes; at 0xfee00080 that is the TPR of its local APIC',
  },
  {
    op: 'write',
    by: 'vcpu',
    operands: [address(4), word],
    doc: 'the guest stores 4 bytes; at 0xfee00300 that sends an IPI',
  },
  {
    op: 'pause',
    by: 'vcpu',
    operands: [],
    doc: 'the guest executes an instruction that touches nothing',
  },
  {
    op: 'verify',
    by: 'vcpu',
    operands: [{ ...low, name: 'value', doc: 'what the last read has to have given, bits 31:0' }],
    doc: 'the guest compares what it read: guest.verified or guest.mismatches counts it',
  },
  {
    op: 'verify-between',
    by: 'vcpu',
    operands: [
      { ...low, name: 'least', doc: 'the smallest value that is right' },
      { ...low, name: 'most', doc: 'the largest value that is right' },
    ],
    doc: 'the same where the exact value does not matter',
  },
  { op: 'hlt', by: 'vcpu', operands: [], doc: 'the guest halts until an interrupt wakes it' },
  { op: 'read8', by: 'vcpu', operands: [address(1)], doc: 'the guest reads a byte' },
  { op: 'read16', by: 'vcpu', operands: [address(2)], doc: 'the guest reads 2 bytes' },
  { op: 'read64', by: 'vcpu', operands: [address(8)], doc: 'the guest reads 8 bytes' },
  { op: 'write8', by: 'vcpu', operands: [address(1), value(0xff)], doc: 'the guest stores a byte' },
  {
    op: 'write16',
    by: 'vcpu',
    operands: [address(2), value(0xffff)],
    doc: 'the guest stores 2 bytes',
  },
  { op: 'write64', by: 'vcpu', operands: [address(8), low, high], doc: 'the guest stores 8 bytes' },
  { op: 'rdmsr', by: 'vcpu', operands: [msr], doc: 'the guest reads an MSR' },
  { op: 'wrmsr', by: 'vcpu', operands: [msr, word], doc: 'the guest writes an MSR, with EDX = 0' },
  { op: 'wrmsr64', by: 'vcpu', operands: [msr, low, high], doc: 'the guest writes an MSR' },
  {
    op: 'mov-to-cr8',
    by: 'vcpu',
    operands: [
      {
        name: 'class',
        kind: 'u32',
        doc: 'priority class, 0 to 15: bits 7:4 of the TPR; more raises #GP',
      },
    ],
    doc: 'the guest writes CR8',
  },
  { op: 'mov-from-cr8', by: 'vcpu', operands: [], doc: 'the guest reads CR8' },
  {
    op: 'eoi',
    by: 'vcpu',
    operands: [],
    doc: 'the guest ends the interrupt in service: by MSR in x2APIC mode, else by MMIO',
  },
  {
    op: 'sti',
    by: 'vcpu',
    operands: [],
    doc: 'the guest allows interrupts, from behind the next instruction on',
  },
  { op: 'cli', by: 'vcpu', operands: [], doc: 'the guest holds interrupts back' },
  { op: 'iret', by: 'vcpu', operands: [], doc: 'the handler returns to what it interrupted' },
  {
    op: 'pv-eoi',
    by: 'vcpu',
    operands: [
      { ...address(1), name: 'byte', memoryOnly: true, doc: 'where the byte of MSR 0x4b564d04 is' },
    ],
    doc: 'the guest ends the interrupt in service: clears bit 0 of the byte if KVM has set it, else as eoi',
  },
  {
    op: 'vmcall',
    by: 'vcpu',
    operands: [],
    doc: 'the guest calls the hypervisor, with a number that KVM does not know',
  },
  {
    op: 'pv-send-ipi',
    by: 'vcpu',
    operands: [
      { name: 'low', kind: 'u32', doc: 'RBX: bit n is APIC ID MIN + n' },
      { name: 'high', kind: 'u32', doc: 'RCX: bit n is APIC ID MIN + 64 + n' },
      { name: 'min', kind: 'u32', doc: 'RDX: the lowest APIC ID' },
      { name: 'icr', kind: 'u32', doc: 'RSI: vector 7:0, delivery mode 10:8' },
    ],
    doc: 'VMCALL KVM_HC_SEND_IPI (RAX = 10): one exit for an IPI to many; RAX: who took it',
  },
  {
    op: 'pv-kick',
    by: 'vcpu',
    operands: [vcpu],
    doc: 'VMCALL KVM_HC_KICK_CPU (RAX = 5): ends HLT of the vCPU, also with interrupts off',
  },
  {
    op: 'vmxon',
    by: 'vcpu',
    operands: [region('VMXON region')],
    doc: 'the guest, being a hypervisor (L1), enters VMX operation',
  },
  { op: 'vmxoff', by: 'vcpu', operands: [], doc: 'L1 leaves VMX operation' },
  {
    op: 'vmclear',
    by: 'vcpu',
    operands: [region('VMCS')],
    doc: 'L1 makes a VMCS clear: its launch state, and what is cached goes to memory',
  },
  {
    op: 'vmptrld',
    by: 'vcpu',
    operands: [region('VMCS')],
    doc: 'L1 makes a VMCS current; its first four bytes must be the revision 0x11e57ed0',
  },
  { op: 'vmread', by: 'vcpu', operands: [vmcsField], doc: 'L1 reads a field of the current VMCS' },
  {
    op: 'vmwrite',
    by: 'vcpu',
    operands: [vmcsField, word],
    doc: 'L1 writes a field of the current VMCS, with 0 in bits 63:32',
  },
  {
    op: 'vmwrite64',
    by: 'vcpu',
    operands: [vmcsField, low, high],
    doc: 'L1 writes a field of the current VMCS',
  },
  {
    op: 'vmlaunch',
    by: 'vcpu',
    operands: [],
    doc: 'L1 enters L2 for the first time; it goes on behind this when L2 exits to it',
  },
  {
    op: 'vmresume',
    by: 'vcpu',
    operands: [],
    doc: 'L1 enters L2 again; it goes on behind this when L2 exits to it',
  },
  {
    op: 'advance-rip',
    by: 'vcpu',
    operands: [],
    doc:
      'L1 adds VM_EXIT_INSTRUCTION_LEN to GUEST_RIP: both are in the shadow VMCS, so that this ' +
      'causes no exit',
  },
  {
    op: 'handler',
    by: 'vcpu',
    operands: [],
    doc:
      'the program ends here; what follows, up to its iret, is its interrupt handler, entered ' +
      'with interrupts off. Without one the handler is "eoi iret"',
  },
  {
    op: 'smi-handler',
    by: 'vcpu',
    operands: [],
    doc:
      'what follows, up to its rsm, is done in system-management mode when an SMI is taken. ' +
      'Without one it is "rsm"',
  },
  { op: 'rsm', by: 'vcpu', operands: [], doc: 'the SMI handler returns to what it interrupted' },
  {
    op: 'migrate',
    by: 'mm',
    operands: [page],
    doc: 'moves the page to another frame, between the start and the end of an MMU-notifier interval',
  },
  {
    op: 'madvise-dontneed',
    by: 'mm',
    operands: [page],
    doc: 'unmaps the page and drops its frame; the next access faults a new, empty frame in',
  },
  {
    op: 'oom-reap',
    by: 'mm',
    operands: [page],
    doc: 'the same by the OOM killer: vCPUs in the guest are interrupted, but not waited for',
  },
  {
    op: 'munmap',
    by: 'mm',
    operands: [page],
    doc: 'user space unmaps the page: KVM_RUN fails with −EFAULT where the guest needs it',
  },
  {
    op: 'mmap',
    by: 'mm',
    operands: [page],
    doc: 'user space maps new memory there (MAP_FIXED), in place of what was mapped',
  },
  {
    op: 'inhibit-apic-access-page',
    by: 'user',
    operands: [],
    doc: 'kvm_inhibit_apic_access_page: deletes the private memslot at 0xfee00000',
  },
  {
    op: 'inhibit-apicv',
    by: 'user',
    operands: [reason],
    doc: 'gives a reason why APICv is off for the VM',
  },
  {
    op: 'uninhibit-apicv',
    by: 'user',
    operands: [reason],
    doc: 'takes the reason back; without any APICv is on again',
  },
  {
    op: 'assign-device',
    by: 'user',
    operands: [],
    doc: 'gives the VM a device whose interrupts the IOMMU posts',
  },
  {
    op: 'redirect',
    by: 'user',
    operands: [
      pin,
      { ...low, doc: 'vector 7:0, logical 11, level 15, mask 16' },
      { ...vcpu, doc: 'the vCPU that gets it' },
    ],
    doc:
      'programs the redirection entry of a pin of the IOAPIC: through its registers; if it is in ' +
      'user space (irqchip split) that sets the route of the pin',
  },
  {
    op: 'route',
    by: 'user',
    operands: [
      gsi,
      { name: 'address', kind: 'u32', doc: 'destination 19:12, redirection hint 3, logical 2' },
      { name: 'data', kind: 'u32', doc: 'level 15, delivery mode 10:8, vector 7:0' },
    ],
    doc: 'KVM_SET_GSI_ROUTING: the global interrupt becomes an MSI that writes DATA to ADDRESS',
  },
  {
    op: 'interrupt',
    by: 'user',
    operands: [vcpu, vector],
    doc: `KVM_INTERRUPT: an ExtINT of a PIC in user space (irqchip split); ${outsideRun}`,
  },
  {
    op: 'get-lapic',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_GET_LAPIC, which harvests what was posted; ${outsideRun}`,
  },
  {
    op: 'set-lapic',
    by: 'user',
    operands: [vcpu, { ...vector, doc: 'the vector that is added to IRR' }],
    doc: `KVM_SET_LAPIC of what KVM_GET_LAPIC gave, with one more vector requested; ${outsideRun}`,
  },
  {
    op: 'verify-lapic',
    by: 'user',
    operands: [vcpu, registerOffset, { ...word, doc: 'what the register has to hold' }],
    doc: `compares a register of what KVM_GET_LAPIC gives, as "verify" does; ${outsideRun}`,
  },
  {
    op: 'inject-ucna',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_X86_SET_MCE of an error that needs no action: LVT CMCI delivers it; ${outsideRun}`,
  },
  {
    op: 'set-lapic-registers',
    by: 'user',
    operands: [vcpu, registerOffset, registerValue],
    rest: [registerOffset, registerValue],
    doc: `KVM_SET_LAPIC of what KVM_GET_LAPIC gave, with other words in it; ${outsideRun}`,
  },
  {
    op: 'set-apic-base',
    by: 'user',
    operands: [vcpu, low, high],
    doc: `KVM_SET_SREGS with another value of IA32_APIC_BASE; ${outsideRun}`,
  },
  {
    op: 'set-guest-debug',
    by: 'user',
    operands: [
      vcpu,
      { name: 'control', kind: 'u32', names: guestDebug, doc: 'KVM_GUESTDBG_*: BLOCKIRQ, or NONE' },
    ],
    doc: `KVM_SET_GUEST_DEBUG: BLOCKIRQ lets no interrupt into the guest; ${outsideRun}`,
  },
  {
    op: 'set-memory-region',
    by: 'user',
    operands: [
      memslot,
      slotAddress,
      { name: 'size', kind: 'u32', doc: 'bytes, whole pages; 0 deletes the slot' },
      { ...page, doc: 'the first page of its memory, by the frame number that it had at boot' },
    ],
    doc: 'KVM_SET_USER_MEMORY_REGION: creates, moves or deletes a memslot',
  },
  {
    op: 'delete-memslot',
    by: 'user',
    operands: [memslot],
    doc: 'KVM_SET_USER_MEMORY_REGION of size 0: the guest has no memory there any more',
  },
  {
    op: 'move-memslot',
    by: 'user',
    operands: [memslot, slotAddress],
    doc: 'KVM_SET_USER_MEMORY_REGION: the same memory at another guest-physical address',
  },
  {
    op: 'save-restore',
    by: 'user',
    operands: [vcpu],
    doc:
      'KVM_GET_MP_STATE, KVM_GET_VCPU_EVENTS, KVM_GET_SREGS and KVM_GET_LAPIC, then KVM_SET_* of ' +
      `what they gave, as a migration does it; ${outsideRun}`,
  },
  {
    op: 'set-mp-state',
    by: 'user',
    operands: [
      vcpu,
      { name: 'state', kind: 'u32', names: mpState, doc: 'KVM_MP_STATE_*: HALTED …' },
    ],
    doc: `KVM_SET_MP_STATE; ${outsideRun}`,
  },
  {
    op: 'get-nested-state',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_GET_NESTED_STATE; user space keeps what it gets; ${outsideRun}`,
  },
  {
    op: 'edit-nested-state',
    by: 'user',
    operands: [
      vcpu,
      { name: 'field', kind: 'u32', names: nestedStateFields, doc: 'a field of the header' },
      {
        name: 'value',
        kind: 'u32',
        max: 2 ** 52 - 1,
        names: { none: INVALID_GPA },
        doc: 'its value; none: all ones',
      },
    ],
    doc: 'user space changes what it keeps for KVM_SET_NESTED_STATE',
  },
  {
    op: 'set-nested-state',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_SET_NESTED_STATE of what user space keeps; ${outsideRun}`,
  },
  {
    op: 'set-vapic-addr',
    by: 'user',
    operands: [vcpu, { name: 'address', kind: 'u32', doc: 'of a word of guest memory; 0: none' }],
    doc: `KVM_SET_VAPIC_ADDR: the guest shares its TPR in memory; ${outsideRun}`,
  },
  {
    op: 'report-tpr-access',
    by: 'user',
    operands: [vcpu, { name: 'enabled', kind: 'u32', max: 1, doc: '1: tell me, 0: do not' }],
    doc: `KVM_TPR_ACCESS_REPORTING: accesses to the TPR that exit leave KVM_RUN; ${outsideRun}`,
  },
  {
    op: 'preempt',
    by: 'sched',
    operands: [vcpu],
    doc: 'asks the thread of the vCPU to give its CPU away',
  },
  {
    op: 'run-on',
    by: 'sched',
    operands: [vcpu, { ...cpu, doc: 'the CPU that it gets, which may be another: cpu1' }],
    doc: 'gives a preempted vCPU a CPU, once that is free',
  },
  {
    op: 'msi',
    by: 'dev',
    operands: [vector, vcpu],
    doc: 'the device sends an edge-triggered, fixed interrupt to the vCPU, by its APIC ID',
  },
  {
    op: 'write-msi',
    by: 'dev',
    operands: [
      { name: 'address', kind: 'u32', doc: 'destination 19:12, redirection hint 3, logical 2' },
      { name: 'data', kind: 'u32', doc: 'level 15, delivery mode 10:8 (1 lowest), vector 7:0' },
    ],
    doc: 'the device sends an interrupt of any form: writes DATA to ADDRESS',
  },
  {
    op: 'raise',
    by: 'dev',
    operands: [pin],
    doc: 'the device asserts its line to the IOAPIC (KVM_IRQ_LINE_STATUS)',
  },
  { op: 'lower', by: 'dev', operands: [pin], doc: 'the device lowers its line to the IOAPIC' },
  {
    op: 'irqfd',
    by: 'dev',
    operands: [gsi],
    doc: 'the device signals the irqfd of a global interrupt: its MSI, or an edge at that pin',
  },
  {
    op: 'pic-raise',
    by: 'dev',
    operands: [{ ...vector, doc: 'what the PIC answers when it is acknowledged' }],
    doc: 'the PIC asserts INTR, which LINT0 in ExtINT mode passes on; in KVM, or in user space',
  },
  { op: 'pic-lower', by: 'dev', operands: [], doc: 'the PIC takes INTR back' },
  {
    op: 'post',
    by: 'iommu',
    operands: [vector, vcpu],
    doc:
      'interrupt remapping posts the vector: into PIR, and unless SN is set ON becomes set and ' +
      'NV is sent to NDST',
  },
  {
    op: 'advance',
    by: 'clock',
    operands: [{ name: 'ns', kind: 'u32', doc: 'nanoseconds' }],
    doc: 'time goes on; timers that are due fire, each an actor: timer0 …',
  },
] as const satisfies readonly InstructionSpec[];

/** RAX of a VMCALL. include/uapi/linux/kvm_para.h */
export const KVM_HC = { KICK_CPU: 5, SEND_IPI: 10 } as const;

export type Op = (typeof instructionSpecs)[number]['op'];

/** One instruction after compilation; loops are counters and jumps. */
export type Instruction =
  | { readonly op: Op; readonly operands: readonly number[] }
  | { readonly op: 'loop-begin'; readonly counter: number; readonly count: number }
  | { readonly op: 'loop-end'; readonly counter: number; readonly target: number };

export type Program = readonly Instruction[];

/** Operand of kind `page` for the APIC-access page; other values are guest frame numbers. */
export const APIC_ACCESS_PAGE = -1;

export interface ActorConfig {
  /** `vcpu0`, `irq0`, `mm`, `user1`: unique, the name in schedules and lanes */
  readonly name: string;
  readonly kind: ActorKind;
  /** number of the vCPU or physical CPU; of the others, which of them (`mm`, `mm1` …) */
  readonly index: number;
  readonly program: Program;
  /** of a vCPU: what its guest runs in a guest of its own */
  readonly l2?: Program;
}

/** Everything that decides, with the schedule, every byte of a run. */
export interface MachineConfig {
  readonly vcpus: number;
  readonly frames: number;
  /** pages of guest memory, from GPA 0 */
  readonly memoryPages: number;
  /** pages of a memslot, if not one slot has all of guest memory */
  readonly slotPages?: number;
  /** `settled`: the APIC-access page is loaded and mapped; `reset`: as vCPU creation leaves it */
  readonly boot: 'settled' | 'reset';
  readonly enableApicv: boolean;
  /** what differs from `usualVm` */
  readonly vm?: Partial<VmConfig>;
  /** by index; what is not said: id = index, xAPIC mode, with CMCI */
  readonly apics?: readonly Partial<VcpuConfig>[];
  readonly switches: Readonly<Record<string, string>>;
  readonly actors: readonly ActorConfig[];
}
