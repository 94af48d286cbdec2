/** The program of a guest: where it stands, its loops, and its handlers. */

import type { Instruction, Program } from '../state/program.ts';
import type { Machine } from '../steps.ts';

/** What a guest without handlers of its own does with every interrupt, and with every SMI. */
const usualHandlers: Program = [
  { op: 'eoi', operands: [] },
  { op: 'iret', operands: [] },
  { op: 'rsm', operands: [] },
];
const usualInterruptHandler = 0;
const usualSmiHandler = 2;

/** Behind the word that begins a part of the program; the usual handlers stand behind it all. */
const partOf = (program: Program, mark: 'handler' | 'smi-handler', usual: number): number => {
  const index = program.findIndex(({ op }) => op === mark);
  return index < 0 ? program.length + 1 + usual : index + 1;
};

/** The first instruction of the interrupt handler. */
export const handlerOf = (program: Program): number =>
  partOf(program, 'handler', usualInterruptHandler);

/** The first instruction of the SMI handler. */
export const smiHandlerOf = (program: Program): number =>
  partOf(program, 'smi-handler', usualSmiHandler);

const isMark = ({ op }: Instruction): boolean => op === 'handler' || op === 'smi-handler';

/** The instruction at a place; undefined at the end, where the guest halts for good. */
export const instructionAt = (program: Program, pc: number): Instruction | undefined => {
  const instruction = program[pc] ?? usualHandlers[pc - program.length - 1];
  return instruction === undefined || isMark(instruction) ? undefined : instruction;
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
