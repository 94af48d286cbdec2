/** The operands of instructions: what each may be, and the words that explain them. */

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
  | 'timer'
  | 'kworker'
  | 'drain';

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
  /** the number is a multiple of this one */
  readonly multiple?: number;
  /** a `gpa` that cannot be in the window of an APIC or of the IOAPIC */
  readonly memoryOnly?: true;
  /** bytes that are accessed at a `gpa` */
  readonly width?: 1 | 2 | 4 | 8;
  /** words that stand for numbers */
  readonly names?: Readonly<Record<string, number>>;
}

export interface InstructionSpec {
  readonly op: string;
  readonly by: ActorKind;
  readonly operands: readonly Operand[];
  /** what may follow the operands, again and again */
  readonly rest?: readonly Operand[];
  readonly doc: string;
}

export const page: Operand = {
  name: 'page',
  kind: 'page',
  doc: '`apic-access-page`, or the guest frame number of a page of guest memory (0x10)',
};

const addressDoc =
  'guest-physical address: aligned in guest memory; anywhere from 0xfee00000 to 0xfee00fff, where ' +
  'the local APIC is, or 0xfed40000 on, if the guest has moved it there; from 0xfec00000 to ' +
  '0xfec000ff, where the IOAPIC is';
export const address = (width: 1 | 2 | 4 | 8): Operand => ({
  name: 'address',
  kind: 'gpa',
  width,
  doc: addressDoc,
});
export const value = (max: number): Operand => ({
  name: 'value',
  kind: 'u32',
  max,
  doc: 'the value that is stored',
});
export const word = value(0xffff_ffff);
export const low: Operand = { name: 'low', kind: 'u32', doc: 'bits 31:0 (EAX)' };
export const high: Operand = { name: 'high', kind: 'u32', doc: 'bits 63:32 (EDX)' };
export const msr: Operand = {
  name: 'msr',
  kind: 'msr',
  doc:
    'number of the MSR: 0x1b IA32_APIC_BASE, 0x6e0 IA32_TSC_DEADLINE, 0x800 to 0x8ff the APIC in ' +
    'x2APIC mode; 0x808 is the TPR; 0x4b564d04 MSR_KVM_PV_EOI_EN, 0x40000073 ' +
    'HV_X64_MSR_VP_ASSIST_PAGE',
};

export const vcpu: Operand = { name: 'vcpu', kind: 'vcpu', doc: 'a vCPU: vcpu1, or its number' };
export const cpu: Operand = {
  name: 'cpu',
  kind: 'cpu',
  doc: 'a physical CPU: cpu1, or its number',
};
export const vector: Operand = { name: 'vector', kind: 'u32', max: 0xff, doc: 'the vector' };
export const pin: Operand = {
  name: 'pin',
  kind: 'u32',
  max: 23,
  doc: 'pin of the IOAPIC: 0 to 23',
};
export const gsi: Operand = { name: 'gsi', kind: 'u32', max: 23, doc: 'global interrupt: 0 to 23' };
export const reason: Operand = {
  name: 'reason',
  kind: 'u32',
  max: 31,
  names: apicvInhibitReason,
  doc: 'APICV_INHIBIT_REASON_*: its name (HYPERV, BLOCKIRQ, ABSENT), or its number',
};

/** Bits of KVM_SET_GUEST_DEBUG: BLOCKIRQ means something only beside ENABLE, bit 0. */
export const guestDebug = { NONE: 0, BLOCKIRQ: 0x10_0001 } as const;

export const memslot: Operand = {
  name: 'slot',
  kind: 'u32',
  doc: 'number of a memslot: 0 is guest memory, unless "slot-pages" of the machine divides it',
};
export const slotAddress: Operand = {
  name: 'address',
  kind: 'u32',
  doc: 'guest-physical address of its first page',
};
export const registerOffset: Operand = {
  name: 'offset',
  kind: 'u32',
  max: 0x3fc,
  multiple: 4,
  doc: 'of a register in the page: 0x80 is the TPR',
};
export const registerValue: Operand = { ...word, doc: 'what the word is to be' };

/** Ioctls of a vCPU wait for its mutex. */
export const outsideRun = 'a thread inside KVM_RUN gets a signal, and comes out first';

/** A page of L1's memory that a VMX instruction names. */
export const region = (what: string): Operand => ({
  name: 'address',
  kind: 'u32',
  max: 2 ** 52 - 1,
  doc: `guest-physical address of the ${what}, a page of guest memory`,
});

export const vmcsField: Operand = {
  name: 'field',
  kind: 'u32',
  max: 0x7fff,
  names: vmcs12Fields,
  doc: 'a field of the VMCS: its name in lower case, or its encoding',
};
