/** The instruction that the guest stands at, as an exit handler or the emulator sees it. */
import { type AccessKind, accessKinds } from '../hw/guest_access.ts';
import { instructionAt } from '../hw/guest_program.ts';
import { APIC_DEFAULT_PHYS_BASE } from '../state/addresses.ts';
import { APIC_BASE_MSR, APIC_EOI } from '../state/apicdef.ts';
import { type Instruction, KVM_HC, type Program } from '../state/program.ts';
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

/**
 * `eoi` is a write to the window where the APIC has one; so is `pv-eoi`, once it has found the
 * byte cleared. What KVM emulates of it is only that: the byte is in memory that has a frame.
 */
export const memoryAccessAt = (m: Machine, program: Program): MemoryAccess | undefined => {
  const instruction = instructionOf(m, program);
  if (instruction?.op === 'eoi' || instruction?.op === 'pv-eoi') {
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

/** `eoi` and `pv-eoi` are a WRMSR in x2APIC mode. */
export const msrAccessAt = (m: Machine, program: Program): MsrAccess => {
  const instruction = instructionOf(m, program);
  if (instruction?.op === 'eoi' || instruction?.op === 'pv-eoi') {
    return { msr: APIC_BASE_MSR + APIC_EOI / 16, low: 0, high: 0 };
  }
  const [msr = 0, low = 0, high = 0] = operandsOf(instruction);
  return { msr, low, high };
};

/** The value of MOV to CR8. */
export const cr8At = (m: Machine, program: Program): number =>
  operandsOf(instructionOf(m, program))[0] ?? 0;

/** A hypercall: its number (RAX) and its arguments (RBX, RCX, RDX, RSI). */
export interface Hypercall {
  readonly nr: number;
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly a3: number;
}

const noHypercall: Hypercall = { nr: 0, a0: 0, a1: 0, a2: 0, a3: 0 };

/** What the registers hold at a VMCALL. */
export const hypercallAt = (m: Machine, program: Program): Hypercall => {
  const instruction = instructionOf(m, program);
  const [a = 0, b = 0, c = 0, d = 0] = operandsOf(instruction);
  if (instruction?.op === 'pv-send-ipi') {
    return { nr: KVM_HC.SEND_IPI, a0: a, a1: b, a2: c, a3: d };
  }
  // The operand is a vCPU; the guest knows its APIC ID.
  if (instruction?.op === 'pv-kick') {
    return { ...noHypercall, nr: KVM_HC.KICK_CPU, a1: m.vcpu[a]!.vcpu_id };
  }
  return noHypercall;
};

/** The operands of any other instruction. */
export const operandsAt = (m: Machine, program: Program): readonly number[] =>
  operandsOf(instructionOf(m, program));
