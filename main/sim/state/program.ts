/** What actors can be told to do: the instructions of a scenario, declared once. */

export type ActorKind = 'vcpu' | 'irq' | 'mm' | 'user' | 'sched';

export type OperandKind = 'gpa' | 'u32' | 'page';

export interface Operand {
  readonly name: string;
  readonly kind: OperandKind;
  readonly doc: string;
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

const address: Operand = { name: 'address', kind: 'gpa', doc: 'guest-physical address' };
const low: Operand = { name: 'low', kind: 'u32', doc: 'bits 31:0 (EAX)' };
const high: Operand = { name: 'high', kind: 'u32', doc: 'bits 63:32 (EDX)' };
const value: Operand = { name: 'value', kind: 'u32', doc: 'the value that is stored' };
const msr: Operand = { name: 'msr', kind: 'u32', doc: 'number of the MSR; 0x808 is the TPR' };

const vcpu: Operand = { name: 'vcpu', kind: 'u32', doc: 'number of the vCPU' };
const reason: Operand = {
  name: 'reason',
  kind: 'u32',
  doc: 'number of APICV_INHIBIT_REASON_*: 1 HYPERV, 3 BLOCKIRQ, 5 APIC_ID_MODIFIED',
};

export const instructionSpecs = [
  {
    op: 'read',
    by: 'vcpu',
    operands: [{ name: 'address', kind: 'gpa', doc: 'guest-physical address, 4-byte aligned' }],
    doc: 'the guest reads 4 bytes; at 0xfee00080 that is the TPR of its local APIC',
  },
  {
    op: 'write',
    by: 'vcpu',
    operands: [
      { name: 'address', kind: 'gpa', doc: 'guest-physical address, 4-byte aligned' },
      { name: 'value', kind: 'u32', doc: 'the 4 bytes that are stored' },
    ],
    doc: 'the guest stores 4 bytes',
  },
  {
    op: 'pause',
    by: 'vcpu',
    operands: [],
    doc: 'the guest executes an instruction that touches nothing',
  },
  { op: 'hlt', by: 'vcpu', operands: [], doc: 'the guest halts until an interrupt wakes it' },
  { op: 'read8', by: 'vcpu', operands: [address], doc: 'the guest reads a byte' },
  { op: 'read16', by: 'vcpu', operands: [address], doc: 'the guest reads 2 bytes' },
  { op: 'read64', by: 'vcpu', operands: [address], doc: 'the guest reads 8 bytes' },
  { op: 'write8', by: 'vcpu', operands: [address, value], doc: 'the guest stores a byte' },
  { op: 'write16', by: 'vcpu', operands: [address, value], doc: 'the guest stores 2 bytes' },
  { op: 'write64', by: 'vcpu', operands: [address, low, high], doc: 'the guest stores 8 bytes' },
  { op: 'rdmsr', by: 'vcpu', operands: [msr], doc: 'the guest reads an MSR' },
  { op: 'wrmsr', by: 'vcpu', operands: [msr, value], doc: 'the guest writes an MSR, with EDX = 0' },
  { op: 'wrmsr64', by: 'vcpu', operands: [msr, low, high], doc: 'the guest writes an MSR' },
  {
    op: 'mov-to-cr8',
    by: 'vcpu',
    operands: [{ name: 'class', kind: 'u32', doc: 'priority class: bits 7:4 of the TPR' }],
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
    op: 'handler',
    by: 'vcpu',
    operands: [],
    doc:
      'the program ends here; what follows is its interrupt handler, entered with interrupts off. ' +
      'Without one the handler is "eoi iret"',
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
    op: 'preempt',
    by: 'sched',
    operands: [vcpu],
    doc: 'asks the thread of the vCPU to give its CPU away',
  },
  {
    op: 'run-on',
    by: 'sched',
    operands: [vcpu, { name: 'cpu', kind: 'u32', doc: 'number of the CPU, which may be another' }],
    doc: 'gives a preempted vCPU a CPU, once that is free',
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
  /** `vcpu0`, `irq0`, `mm`, `user`: unique, the name in schedules and lanes */
  readonly name: string;
  readonly kind: ActorKind;
  /** number of the vCPU or physical CPU; of mm and user, which of them (`mm`, `mm1` …) */
  readonly index: number;
  readonly program: Program;
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
