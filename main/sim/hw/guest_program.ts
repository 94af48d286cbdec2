/** The program of a guest: where it stands, its loops, and its interrupt handler. */

import type { Instruction, Program } from '../state/program.ts';
import type { Machine } from '../steps.ts';

/** What a guest without a handler of its own does with every interrupt. */
const usualHandler: Program = [
  { op: 'eoi', operands: [] },
  { op: 'iret', operands: [] },
];

/** Where `handler` stands, or the end: the main program ends there. */
const endOf = (program: Program): number => {
  const mark = program.findIndex(({ op }) => op === 'handler');
  return mark < 0 ? program.length : mark;
};

/** The first instruction of the interrupt handler; the usual one stands behind the program. */
export const handlerOf = (program: Program): number => endOf(program) + 1;

/** The instruction at a place; undefined at the end, where the guest halts for good. */
export const instructionAt = (program: Program, pc: number): Instruction | undefined => {
  const instruction = program[pc] ?? usualHandler[pc - program.length - 1];
  return instruction?.op === 'handler' ? undefined : instruction;
};

/** Goes past the instruction that the guest stands at: it has completed, or KVM has done it. */
export const skipInstruction = (m: Machine, program: Program): void => {
  const actor = m.actor[m.current]!;
  if (instructionAt(program, actor.pc) !== undefined) actor.pc++;
};

/** Counts down a `repeat` of a program; the arithmetic of loops takes no step. */
export const skipLoops = (
  m: Machine,
  actorIndex: number,
  program: Program,
): Instruction | undefined => {
  const actor = m.actor[actorIndex]!;
  for (;;) {
    const instruction = instructionAt(program, actor.pc);
    if (instruction === undefined) return undefined;
    if (instruction.op === 'loop-begin') {
      actor.counter[instruction.counter]!.left = instruction.count;
      actor.pc++;
    } else if (instruction.op === 'loop-end') {
      const counter = actor.counter[instruction.counter]!;
      counter.left--;
      actor.pc = counter.left > 0 ? instruction.target : actor.pc + 1;
    } else {
      return instruction;
    }
  }
};
