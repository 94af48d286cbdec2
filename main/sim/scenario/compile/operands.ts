/** The operands of instructions: words become numbers, and those that mean nothing are reported. */
import {
  APIC_DEFAULT_PHYS_BASE,
  APIC_MOVED_PHYS_BASE,
  IOAPIC_DEFAULT_BASE_ADDRESS,
  IOAPIC_MEM_LENGTH,
} from '../../state/addresses.ts';
import { APIC_BASE_MSR } from '../../state/apicdef.ts';
import { HV_X64_MSR_VP_ASSIST_PAGE } from '../../state/evmcs.ts';
import { PAGE_SIZE } from '../../state/machine.ts';
import {
  type ActorKind,
  APIC_ACCESS_PAGE,
  type Operand,
  type OperandKind,
} from '../../state/program.ts';
import { instead } from '../diagnostics.ts';
import type { Word } from '../parse/tree.ts';
import { bigintOf, numberIn, type Report } from './context.ts';

/** How the APIC-access page is written where a page is wanted. */
export const apicAccessPageName = 'apic-access-page';

export interface ProgramContext {
  readonly kind: ActorKind;
  readonly vcpus: number;
  readonly memoryPages: number;
  /** user space creates or moves memslots: guest memory can be anywhere */
  readonly slotsMove: boolean;
  /** of the guest: 1, or 2 for a guest of the guest */
  readonly level: number;
  readonly report: Report;
}

type Read = (operand: Operand, word: Word, context: ProgramContext) => number | undefined;

const noMemory = 'the guest has no memory; write "memory 1" or more in the machine block';

/** What is wrong with an access inside the page of the local APIC. */
const apicFault = (offset: number, width: number): string | undefined =>
  offset + width > PAGE_SIZE
    ? 'the access reaches beyond the page of the APIC; choose a lower address'
    : undefined;

/** Where the local APIC is, and where a guest may move it to. */
const apicPages = [APIC_DEFAULT_PHYS_BASE, APIC_MOVED_PHYS_BASE];

const lastOfIoapic = (IOAPIC_DEFAULT_BASE_ADDRESS + IOAPIC_MEM_LENGTH - 1).toString(16);

/** What is wrong with an access at the page of the IOAPIC. */
const ioapicFault = (offset: number): string | undefined =>
  offset < IOAPIC_MEM_LENGTH
    ? undefined
    : `the registers of the IOAPIC end at 0x${lastOfIoapic}; choose a lower address`;

const memoryFault = (
  gpa: number,
  width: number,
  { memoryPages, slotsMove }: ProgramContext,
): string | undefined => {
  if (gpa % width !== 0) {
    return `an access to guest memory is ${width}-byte aligned; choose a multiple of ${width}`;
  }
  if (slotsMove || gpa < memoryPages * PAGE_SIZE) return undefined;
  return memoryPages === 0
    ? noMemory
    : `guest memory ends before 0x${(memoryPages * PAGE_SIZE).toString(16)}; ` +
        'choose a lower address or more memory';
};

const within = (gpa: number, base: number, length: number): boolean =>
  gpa >= base && gpa < base + length;

const gpaFault = (gpa: number, width: number, context: ProgramContext): string | undefined => {
  const page = apicPages.find((base) => within(gpa, base, PAGE_SIZE));
  if (page !== undefined) return apicFault(gpa - page, width);
  return within(gpa, IOAPIC_DEFAULT_BASE_ADDRESS, PAGE_SIZE)
    ? ioapicFault(gpa - IOAPIC_DEFAULT_BASE_ADDRESS)
    : memoryFault(gpa, width, context);
};

const gpaOf: Read = ({ width = 4, memoryOnly }, word, context) => {
  const { report } = context;
  const what = 'a guest-physical address';
  const value = numberIn(word, { min: 0, max: 2 ** 52 - 1, what, isHex: true }, report);
  if (value === undefined) return undefined;
  const inWindow = value >= IOAPIC_DEFAULT_BASE_ADDRESS && !context.slotsMove;
  const fault =
    memoryOnly === true && inWindow
      ? 'this has to be in guest memory; choose an address there'
      : gpaFault(value, width, context);
  if (fault === undefined) return value;
  report(word, fault);
  return undefined;
};

const pageOf: Read = (_, word, { memoryPages, report }) => {
  if (word.text === apicAccessPageName) return APIC_ACCESS_PAGE;
  if (!word.isNumber) {
    report(word, `"${word.text}" is no page; write ${apicAccessPageName} or the number of a page`);
    return undefined;
  }
  if (memoryPages === 0 && bigintOf(word.text) !== undefined) {
    report(word, noMemory);
    return undefined;
  }
  const what = 'a page of guest memory';
  return numberIn(word, { min: 0, max: memoryPages - 1, what, isHex: true }, report);
};

/** One of as many as there are vCPUs: `vcpu1`, `cpu1`, or only the number. */
const oneOfMany =
  (prefix: 'vcpu' | 'cpu', what: string): Read =>
  (_, word, { vcpus, report }) => {
    const text = new RegExp(`^${prefix}(\\d+)$`).exec(word.text)?.[1] ?? word.text;
    if (bigintOf(text) === undefined) {
      const last = `${prefix}${vcpus - 1}`;
      report(word, `"${word.text}" is no ${what}; write ${prefix}0 to ${last}`);
      return undefined;
    }
    return numberIn({ ...word, text }, { min: 0, max: vcpus - 1, what: `a ${what}` }, report);
  };

const numberOf: Read = (operand, word, { report }) => {
  const { name, max = 0xffff_ffff, multiple = 1, names } = operand;
  const named = names?.[word.text];
  if (named !== undefined) return named;
  if (names !== undefined && !word.isNumber) {
    report(word, `"${word.text}" is no ${name}; ${instead(word.text, Object.keys(names))}`);
    return undefined;
  }
  const value = numberIn(word, { min: 0, max, what: `the ${name}`, isHex: true }, report);
  if (value === undefined || value % multiple === 0) return value;
  report(word, `the ${name} is a multiple of ${multiple}; choose another`);
  return undefined;
};

const IA32_APIC_BASE = 0x1b;
const IA32_TSC_DEADLINE = 0x6e0;
const MSR_KVM_PV_EOI_EN = 0x4b56_4d04;
const x2apicMsrs = 0x100;

const others: readonly number[] = [
  IA32_APIC_BASE,
  IA32_TSC_DEADLINE,
  MSR_KVM_PV_EOI_EN,
  HV_X64_MSR_VP_ASSIST_PAGE,
];

const isOfApic = (msr: number): boolean =>
  others.includes(msr) || (msr >= APIC_BASE_MSR && msr < APIC_BASE_MSR + x2apicMsrs);

const msrOf: Read = (operand, word, context) => {
  const value = numberOf(operand, word, context);
  if (value === undefined || isOfApic(value)) return value;
  context.report(
    word,
    'this MSR is not of the APIC; write 0x1b, 0x6e0, 0x4b564d04, 0x40000073, or 0x800 to 0x8ff',
  );
  return undefined;
};

const readers: Readonly<Record<OperandKind, Read>> = {
  gpa: gpaOf,
  page: pageOf,
  vcpu: oneOfMany('vcpu', 'vCPU'),
  cpu: oneOfMany('cpu', 'CPU'),
  msr: msrOf,
  u32: numberOf,
};

/** The number that the word means; says what is wrong otherwise. */
export const operandOf: Read = (operand, word, context) =>
  readers[operand.kind](operand, word, context);
