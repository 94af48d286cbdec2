/** A program block: its words become instructions, `repeat` becomes counters and jumps. */
import { programParts } from '../../state/actor.ts';
import { limits } from '../../state/limits.ts';
import {
  type ActorKind,
  type Instruction,
  type InstructionSpec,
  instructionSpecs,
  type Op,
  type Operand,
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
  kworker: 'a worker of the kernel',
  drain: 'a store buffer',
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

/** What interrupts the program of a guest stands behind it: the word that begins it, its end. */
const handlerEnds = { handler: 'iret', 'smi-handler': 'rsm' } as const satisfies Partial<
  Record<Op, Op>
>;
type HandlerMark = keyof typeof handlerEnds;

const isMark = (op: Op): op is HandlerMark => Object.hasOwn(handlerEnds, op);

/** Each part can interrupt those before it in the middle of a loop: it has counters of its own. */
const counterBases: Readonly<Record<HandlerMark | 'program', number>> = {
  program: 0,
  handler: limits.loopNesting,
  'smi-handler': 2 * limits.loopNesting,
};

interface Emitter {
  readonly context: ProgramContext;
  readonly out: Instruction[];
  /** the handlers that have begun; the last is the one that is being written */
  readonly marks: Map<HandlerMark, Word>;
  part: HandlerMark | 'program';
}

type Rule = (emitter: Emitter, depth: number) => string | undefined;

const begins =
  (mark: HandlerMark): Rule =>
  ({ marks }, depth) => {
    if (depth > 0) return 'a handler cannot begin inside repeat; write it behind the program';
    return marks.has(mark) ? `there is a ${mark} already; join the two` : undefined;
  };

const endsOnly =
  (mark: HandlerMark): Rule =>
  ({ part }) =>
    part === mark ? undefined : `only a handler returns; write "${mark}" before it`;

/** Instructions that cannot stand everywhere; each says what is wrong with its place. */
const placeRules: Readonly<Partial<Record<Op, Rule>>> = {
  handler: begins('handler'),
  'smi-handler': begins('smi-handler'),
  iret: endsOnly('handler'),
  rsm: endsOnly('smi-handler'),
  sti: ({ part }) =>
    part === 'program'
      ? undefined
      : `a handler keeps interrupts off to its ${handlerEnds[part]}; remove sti`,
};

/** The handler that was being written is over: it must have come back. */
const endPart = ({ context, out, marks, part }: Emitter): void => {
  if (part === 'program' || out.at(-1)?.op === handlerEnds[part]) return;
  const mark = marks.get(part);
  if (mark === undefined) return;
  context.report(mark, `the handler does not end; write ${handlerEnds[part]} at its end`);
};

/** A handler in the wrong place is reported for that only, not for what is in it. */
const checkPlace = (word: Word, op: Op, depth: number, emitter: Emitter): void => {
  const fault = placeRules[op]?.(emitter, depth);
  if (fault !== undefined) emitter.context.report(word, fault);
  if (!isMark(op)) return;
  if (fault === undefined) {
    endPart(emitter);
    emitter.marks.set(op, word);
  }
  emitter.part = op;
};

/** The operands, and as many groups of the rest as are begun. */
const operandsWanted = (
  { operands, rest = [] }: Spec,
  items: readonly ProgramItem[],
  index: number,
): readonly Operand[] => {
  const wanted = [...operands];
  while (rest.length > 0 && isOperand(items[index + 1 + wanted.length])) wanted.push(...rest);
  return wanted;
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
  const wanted = operandsWanted(spec, items, index);
  const operands: number[] = [];
  for (const [i, operand] of wanted.entries()) {
    const item = items[index + 1 + i];
    if (!isOperand(item)) {
      const names = wanted.map(({ name }) => name.toUpperCase()).join(' ');
      context.report(word, `"${spec.op}" lacks its ${operand.name}; write ${spec.op} ${names}`);
      return 1 + i;
    }
    const value = operandOf(operand, item.word, context);
    if (value !== undefined) operands.push(value);
  }
  if (operands.length === wanted.length) out.push({ op: spec.op, operands });
  return 1 + wanted.length;
};

const emitRepeat = (repeat: Repeat, depth: number, emitter: Emitter): void => {
  const { context, out } = emitter;
  const { report } = context;
  if (depth === limits.loopNesting) {
    report(repeat.head, `repeat nests at most ${limits.loopNesting} deep; write it flatter`);
    return;
  }
  if (repeat.count === undefined) report(repeat.head, 'repeat lacks its count; write repeat 3 {');
  const count =
    repeat.count === undefined
      ? undefined
      : numberIn(repeat.count, { min: 1, max: limits.steps, what: 'a count' }, report);
  const base = (context.level - 1) * programParts * limits.loopNesting;
  const counter = base + counterBases[emitter.part] + depth;
  out.push({ op: 'loop-begin', counter, count: count ?? 1 });
  const target = out.length;
  emitItems(repeat.body, depth + 1, emitter);
  if (repeat.body.length === 0) report(repeat.head, 'there is nothing to repeat; fill the block');
  out.push({ op: 'loop-end', counter, target });
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
  const emitter: Emitter = { context, out, marks: new Map(), part: 'program' };
  emitItems(items, 0, emitter);
  endPart(emitter);
  return out;
};
