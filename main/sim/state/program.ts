/** What actors can be told to do: the instructions of a scenario, declared once. */
import { INVALID_GPA } from './addresses.ts';
import { nestedStateFields } from './nested_state.ts';
import { mpState } from './vcpu.ts';
import { apicvInhibitReason } from './vm.ts';
import { vmcs12Fields } from './vmcs12.ts';

export type ActorKind =
  | 'vcpu'
  | 'irq'
  | 'mm'
  | 'user'
  | 'sched'
  | 'dev'
  | 'iommu'
  | 'clock'
  | 'timer';

/**
 * `gpa`: where the guest reads or writes; `page`, `vcpu`, `cpu`: one of those; `msr`: one of those
 * that belong to the APIC; `u32`: any other number.
 */
export type OperandKind = 'gpa' | 'u32' | 'page' | 'vcpu' | 'cpu' | 'msr';

export interface Operand {
  readonly name: string;
  readonly kind: OperandKind;
  readonly doc: string;
  /** the largest number, if not 0xffffffff */
  readonly max?: number;
  /** bytes that are accessed at a `gpa` */
  readonly width?: 1 | 2 | 4 | 8;
  /** words that stand for numbers */
  readonly names?: Readonly<Record<string, number>>;
}

export interface InstructionSpec {
  readonly op: string;
  readonly by: ActorKind;
  readonly operands: readonly Operand[];
  readonly doc: string;
}

const page: Operand = {
  name: 'page',
  kind: 'page',
  doc: '`apic-access-page`, or the guest frame number of a page of guest memory (0x10)',
};

const addressDoc =
  'guest-physical address: aligned in guest memory, and anywhere from 0xfee00000 to 0xfee00fff, ' +
  'where the local APIC is';
const address = (width: 1 | 2 | 4 | 8): Operand => ({
  name: 'address',
  kind: 'gpa',
  width,
  doc: addressDoc,
});
const value = (max: number): Operand => ({
  name: 'value',
  kind: 'u32',
  max,
  doc: 'the value that is stored',
});
const word = value(0xffff_ffff);
const low: Operand = { name: 'low', kind: 'u32', doc: 'bits 31:0 (EAX)' };
const high: Operand = { name: 'high', kind: 'u32', doc: 'bits 63:32 (EDX)' };
const msr: Operand = {
  name: 'msr',
  kind: 'msr',
  doc:
    'number of the MSR: 0x1b IA32_APIC_BASE, 0x6e0 IA32_TSC_DEADLINE, 0x800 to 0x8ff the APIC in ' +
    'x2APIC mode; 0x808 is the TPR',
};

const region = (what: string): Operand => ({
  name: 'address',
  kind: 'u32',
  max: 2 ** 52 - 1,
  doc: `guest-physical address of the ${what}, a page of guest memory`,
});
const field: Operand = {
  name: 'field',
  kind: 'u32',
  max: 0x7fff,
  names: vmcs12Fields,
  doc: 'a field of the VMCS: its name in lower case, or its encoding',
};

const vcpu: Operand = { name: 'vcpu', kind: 'vcpu', doc: 'a vCPU: vcpu1, or its number' };
const cpu: Operand = { name: 'cpu', kind: 'cpu', doc: 'a physical CPU: cpu1, or its number' };
const vector: Operand = { name: 'vector', kind: 'u32', max: 0xff, doc: 'the vector' };
const pin: Operand = { name: 'pin', kind: 'u32', max: 23, doc: 'pin of the IOAPIC: 0 to 23' };
const reason: Operand = {
  name: 'reason',
  kind: 'u32',
  max: 31,
  names: apicvInhibitReason,
  doc: 'APICV_INHIBIT_REASON_*: its name (HYPERV, BLOCKIRQ, ABSENT), or its number',
};

/** Ioctls of a vCPU wait for its mutex. */
const outsideRun = 'it waits until the vCPU is outside KVM_RUN: let it act before the vCPU begins';

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
  { op: 'vmcall', by: 'vcpu', operands: [], doc: 'the guest calls the hypervisor' },
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
  { op: 'vmread', by: 'vcpu', operands: [field], doc: 'L1 reads a field of the current VMCS' },
  {
    op: 'vmwrite',
    by: 'vcpu',
    operands: [field, word],
    doc: 'L1 writes a field of the current VMCS, with 0 in bits 63:32',
  },
  {
    op: 'vmwrite64',
    by: 'vcpu',
    operands: [field, low, high],
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
    doc: 'programs the redirection entry of a pin of the in-kernel IOAPIC, through its registers',
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
    op: 'set-mp-state',
    by: 'user',
    operands: [
      vcpu,
      { name: 'state', kind: 'u32', max: 9, names: mpState, doc: 'KVM_MP_STATE_*: HALTED …' },
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
  { op: 'raise', by: 'dev', operands: [pin], doc: 'the device asserts its line to the IOAPIC' },
  { op: 'lower', by: 'dev', operands: [pin], doc: 'the device lowers its line to the IOAPIC' },
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

/** What user space chose for the VM before it made vCPUs; module parameters too. */
export interface VmConfig {
  /** `split`: IOAPIC and PIC are in user space */
  readonly irqchip: 'kernel' | 'split';
  /** the guest sees x2APIC, and the TSC-deadline timer, in CPUID */
  readonly x2apicCpuid: boolean;
  readonly tscDeadlineCpuid: boolean;
  /** KVM_X2APIC_API_USE_32BIT_IDS and KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK */
  readonly x2apic32bitIds: boolean;
  readonly x2apicBroadcastQuirkDisabled: boolean;
  /** mask of KVM_CAP_DISABLE_QUIRKS */
  readonly disabledQuirks: number;
  readonly vectorHashing: boolean;
  /** the guest sees VMX in CPUID */
  readonly nested: boolean;
  /** `unmanaged`: no struct page, as with `mem=` or a PFN map of a driver */
  readonly guestMemory: 'managed' | 'unmanaged';
  readonly apicBusCycleNs: number;
  readonly tscKhz: number;
  readonly bspId: number;
  readonly maxphyaddr: number;
}

export const usualVm: VmConfig = {
  irqchip: 'kernel',
  x2apicCpuid: true,
  tscDeadlineCpuid: true,
  x2apic32bitIds: false,
  x2apicBroadcastQuirkDisabled: false,
  disabledQuirks: 0,
  vectorHashing: true,
  nested: false,
  guestMemory: 'managed',
  apicBusCycleNs: 1,
  tscKhz: 1_000_000,
  bspId: 0,
  maxphyaddr: 46,
};

/** How a vCPU is made; its `id` is the vCPU (x2APIC) ID, its index by default. */
export interface VcpuConfig {
  readonly id: number;
  readonly mode: 'disabled' | 'xapic' | 'x2apic';
  /** MCG_CMCI_P: the local vector table has an entry for CMCI */
  readonly lvtCmci: boolean;
  /** the guest has enabled its APIC (SPIV bit 8) and interrupts (EFLAGS.IF) already */
  readonly interrupts: boolean;
}

/** Everything that decides, with the schedule, every byte of a run. */
export interface MachineConfig {
  readonly vcpus: number;
  readonly frames: number;
  /** pages of guest memory, from GPA 0 */
  readonly memoryPages: number;
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
