/** A program block: its words become instructions, `repeat` becomes counters and jumps. */
import { limits } from '../../state/limits.ts';
import {
  type ActorKind,
  type Instruction,
  type InstructionSpec,
  instructionSpecs,
  type Op,
  type Program,
} from '../../state/program.ts';
import { instead } from '../diagnostics.ts';
import type { ProgramItem, Repeat, Word } from '../parse/tree.ts';
import { numberIn } from './context.ts';
import { operandOf, type ProgramContext } from './operands.ts';

type Spec = InstructionSpec & { readonly op: Op };

/** The instructions of an actor. */
export const specsOf = (kind: ActorKind): readonly Spec[] => {
  const specs: readonly Spec[] = instructionSpecs;
  return specs.filter((spec) => spec.by === kind);
};

const kindNames: Readonly<Record<ActorKind, string>> = {
  vcpu: 'a vCPU',
  irq: 'an interrupt actor',
  mm: 'the memory manager',
  user: 'user space',
  sched: 'the scheduler',
  dev: 'a device',
  iommu: 'the IOMMU',
  clock: 'the clock',
  timer: 'a timer',
};

const allOps: readonly string[] = instructionSpecs.map((spec) => spec.op);

/** Can the word be an operand, so that a missing one is not taken from the next instruction? */
const isOperand = (item: ProgramItem | undefined): item is { kind: 'word'; word: Word } =>
  item?.kind === 'word' && !allOps.includes(item.word.text);

const unknownOp = (word: Word, { kind, report }: ProgramContext): void => {
  const specs: readonly Spec[] = instructionSpecs;
  const other = specs.find((spec) => spec.op === word.text);
  if (other !== undefined) {
    report(
      word,
      `"${word.text}" is done by ${kindNames[other.by]}, not by ${kindNames[kind]}; ` +
        'move it to a block of such an actor',
    );
  } else if (word.isNumber) {
    report(word, `"${word.text}" belongs to no instruction; remove it`);
  } else {
    const ops = specsOf(kind).map((spec) => spec.op);
    report(word, `${kindNames[kind]} cannot do "${word.text}"; ${instead(word.text, ops)}`);
  }
};

/** How many words behind an instruction that does not belong here are its operands. */
const operandsBehind = (items: readonly ProgramItem[], index: number): number => {
  const { word } = items[index] as { word: Word };
  const specs: readonly Spec[] = instructionSpecs;
  const most = specs.find(({ op }) => op === word.text)?.operands.length;
  let taken = 0;
  for (;;) {
    const item = items[index + 1 + taken];
    if (!isOperand(item) || taken === most) return taken;
    if (most === undefined && !item.word.isNumber) return taken;
    taken++;
  }
};

interface Emitter {
  readonly context: ProgramContext;
  readonly out: Instruction[];
  /** where the interrupt handler begins */
  handler: Word | undefined;
}

type Rule = (emitter: Emitter, depth: number) => string | undefined;

/** Instructions that cannot stand everywhere; each says what is wrong with its place. */
const placeRules: Readonly<Partial<Record<Op, Rule>>> = {
  handler: ({ handler }, depth) => {
    if (depth > 0) return 'a handler cannot begin inside repeat; write it behind the program';
    return handler === undefined ? undefined : 'there is a handler already; join the two';
  },
  iret: ({ handler }) =>
    handler === undefined ? 'only a handler returns; write "handler" before it' : undefined,
  sti: ({ handler }) =>
    handler === undefined ? undefined : 'a handler keeps interrupts off to its iret; remove sti',
};

const checkPlace = (word: Word, op: Op, depth: number, emitter: Emitter): void => {
  const fault = placeRules[op]?.(emitter, depth);
  if (fault !== undefined) emitter.context.report(word, fault);
  if (op === 'handler') emitter.handler ??= word;
};

/** One instruction with its operands; returns how many items it took. */
const emitInstruction = (
  items: readonly ProgramItem[],
  index: number,
  depth: number,
  emitter: Emitter,
): number => {
  const { context, out } = emitter;
  const { word } = items[index] as { word: Word };
  const spec = specsOf(context.kind).find(({ op }) => op === word.text);
  if (spec === undefined) {
    unknownOp(word, context);
    return 1 + operandsBehind(items, index);
  }
  checkPlace(word, spec.op, depth, emitter);
  const operands: number[] = [];
  for (const [i, operand] of spec.operands.entries()) {
    const item = items[index + 1 + i];
    if (!isOperand(item)) {
      const wanted = spec.operands.map(({ name }) => name.toUpperCase()).join(' ');
      context.report(word, `"${spec.op}" lacks its ${operand.name}; write ${spec.op} ${wanted}`);
      return 1 + i;
    }
    const value = operandOf(operand, item.word, context);
    if (value !== undefined) operands.push(value);
  }
  if (operands.length === spec.operands.length) out.push({ op: spec.op, operands });
  return 1 + spec.operands.length;
};

const emitRepeat = (repeat: Repeat, depth: number, emitter: Emitter): void => {
  const { context, out } = emitter;
  const { report } = context;
  if (depth === limits.loopNesting) {
    report(repeat.head, `repeat nests at most ${limits.loopNesting} deep; write it flatter`);
    return;
  }
  if (emitter.handler !== undefined) {
    report(repeat.head, 'a handler has no loops; write its instructions out');
    return;
  }
  if (repeat.count === undefined) report(repeat.head, 'repeat lacks its count; write repeat 3 {');
  const count =
    repeat.count === undefined
      ? undefined
      : numberIn(repeat.count, { min: 1, max: limits.steps, what: 'a count' }, report);
  out.push({ op: 'loop-begin', counter: context.firstCounter + depth, count: count ?? 1 });
  const target = out.length;
  emitItems(repeat.body, depth + 1, emitter);
  if (repeat.body.length === 0) report(repeat.head, 'there is nothing to repeat; fill the block');
  out.push({ op: 'loop-end', counter: context.firstCounter + depth, target });
};

const emitItems = (items: readonly ProgramItem[], depth: number, emitter: Emitter): void => {
  for (let i = 0; i < items.length; ) {
    const item = items[i]!;
    if (item.kind === 'repeat') {
      emitRepeat(item, depth, emitter);
      i++;
    } else i += emitInstruction(items, i, depth, emitter);
  }
};

/** The instructions of a block; those that are wrong are reported and left out. */
export const programOf = (items: readonly ProgramItem[], context: ProgramContext): Program => {
  const out: Instruction[] = [];
  const emitter: Emitter = { context, out, handler: undefined };
  emitItems(items, 0, emitter);
  const last = out.findLast(({ op }) => op !== 'loop-end');
  if (emitter.handler !== undefined && last?.op !== 'iret') {
    context.report(emitter.handler, 'the handler does not end; write iret at its end');
  }
  return out;
};
