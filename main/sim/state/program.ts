/** What actors can be told to do: the instructions of a scenario, declared once. */

export type ActorKind = 'vcpu' | 'irq' | 'mm' | 'user';

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

/** Everything that decides, with the schedule, every byte of a run. */
export interface MachineConfig {
  readonly vcpus: number;
  readonly frames: number;
  /** pages of guest memory, from GPA 0 */
  readonly memoryPages: number;
  /** `settled`: the APIC-access page is loaded and mapped; `reset`: as vCPU creation leaves it */
  readonly boot: 'settled' | 'reset';
  readonly enableApicv: boolean;
  readonly switches: Readonly<Record<string, string>>;
  readonly actors: readonly ActorConfig[];
}
