/** The instruction that the guest stands at, as an exit handler or the emulator sees it. */
import { type AccessKind, accessKinds } from '../hw/guest_access.ts';
import { instructionAt } from '../hw/guest_program.ts';
import { APIC_DEFAULT_PHYS_BASE } from '../state/addresses.ts';
import { APIC_BASE_MSR, APIC_EOI } from '../state/apicdef.ts';
import type { Instruction, Program } from '../state/program.ts';
import type { Machine } from '../steps.ts';

const operandsOf = (instruction: Instruction | undefined): readonly number[] =>
  instruction !== undefined && 'operands' in instruction ? instruction.operands : [];

export const instructionOf = (m: Machine, program: Program): Instruction | undefined =>
  instructionAt(program, m.actor[m.current]!.pc);

/** An access to memory; what a write stores is in `guest.value` and `guest.value_high`. */
export interface MemoryAccess {
  readonly gpa: number;
  readonly kind: AccessKind;
}

const isMemoryOp = (op: string): op is keyof typeof accessKinds => Object.hasOwn(accessKinds, op);

/** `eoi` is a write to the window where the APIC has one. */
export const memoryAccessAt = (m: Machine, program: Program): MemoryAccess | undefined => {
  const instruction = instructionOf(m, program);
  if (instruction?.op === 'eoi') {
    return { gpa: APIC_DEFAULT_PHYS_BASE + APIC_EOI, kind: accessKinds.write };
  }
  if (instruction === undefined || !isMemoryOp(instruction.op)) return undefined;
  const [gpa = 0] = operandsOf(instruction);
  return { gpa, kind: accessKinds[instruction.op] };
};

/** RDMSR or WRMSR; of a read the value means nothing. */
export interface MsrAccess {
  readonly msr: number;
  readonly low: number;
  readonly high: number;
}

/** `eoi` is a WRMSR in x2APIC mode. */
export const msrAccessAt = (m: Machine, program: Program): MsrAccess => {
  const instruction = instructionOf(m, program);
  if (instruction?.op === 'eoi') return { msr: APIC_BASE_MSR + APIC_EOI / 16, low: 0, high: 0 };
  const [msr = 0, low = 0, high = 0] = operandsOf(instruction);
  return { msr, low, high };
};

/** The value of MOV to CR8. */
export const cr8At = (m: Machine, program: Program): number =>
  operandsOf(instructionOf(m, program))[0] ?? 0;

/** The operands of any other instruction. */
export const operandsAt = (m: Machine, program: Program): readonly number[] =>
  operandsOf(instructionOf(m, program));
