/** A program block: its words become instructions, `repeat` becomes counters and jumps. */
import { APIC_DEFAULT_PHYS_BASE } from '../../state/addresses.ts';
import { APIC_TASKPRI } from '../../state/lapic.ts';
import { limits } from '../../state/limits.ts';
import { PAGE_SIZE } from '../../state/machine.ts';
import {
  type ActorKind,
  APIC_ACCESS_PAGE,
  type Instruction,
  type InstructionSpec,
  instructionSpecs,
  type Op,
  type Operand,
  type Program,
} from '../../state/program.ts';
import { instead } from '../diagnostics.ts';
import type { ProgramItem, Repeat, Word } from '../parse/tree.ts';
import { bigintOf, numberIn, type Report } from './context.ts';

/** How the APIC-access page is written where a page is wanted. */
export const apicAccessPageName = 'apic-access-page';

export interface ProgramContext {
  readonly kind: ActorKind;
  readonly memoryPages: number;
  readonly report: Report;
}

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
};

const gpaOf = (word: Word, { memoryPages, report }: ProgramContext): number | undefined => {
  const value = numberIn(
    word,
    {
      min: 0,
      max: 2 ** 52 - 1,
      what: 'a guest-physical address',
      isHex: true,
    },
    report,
  );
  if (value === undefined) return undefined;
  if (value % 4 !== 0) {
    report(word, 'a guest access is 4-byte aligned; choose a multiple of 4');
    return undefined;
  }
  const inApic = value - APIC_DEFAULT_PHYS_BASE;
  if (inApic >= 0 && inApic < PAGE_SIZE) {
    if (inApic === APIC_TASKPRI) return value;
    report(
      word,
      'this version models the TPR, offset 0x080, only; write ' +
        `0x${(APIC_DEFAULT_PHYS_BASE + APIC_TASKPRI).toString(16)}`,
    );
    return undefined;
  }
  if (value < memoryPages * PAGE_SIZE) return value;
  report(
    word,
    memoryPages === 0
      ? 'the guest has no memory; write "memory 1" or more in the machine block'
      : `guest memory ends before 0x${(memoryPages * PAGE_SIZE).toString(16)}; ` +
          'choose a lower address or more memory',
  );
  return undefined;
};

const pageOf = (word: Word, { memoryPages, report }: ProgramContext): number | undefined => {
  if (word.text === apicAccessPageName) return APIC_ACCESS_PAGE;
  if (!word.isNumber) {
    report(word, `"${word.text}" is no page; write ${apicAccessPageName} or the number of a page`);
    return undefined;
  }
  if (memoryPages === 0 && bigintOf(word.text) !== undefined) {
    report(word, 'the guest has no memory; write "memory 1" or more in the machine block');
    return undefined;
  }
  return numberIn(
    word,
    {
      min: 0,
      max: memoryPages - 1,
      what: 'a page of guest memory',
      isHex: true,
    },
    report,
  );
};

const operandOf = (operand: Operand, word: Word, context: ProgramContext): number | undefined => {
  switch (operand.kind) {
    case 'gpa':
      return gpaOf(word, context);
    case 'page':
      return pageOf(word, context);
    case 'u32':
      return numberIn(
        word,
        {
          min: 0,
          max: 0xffff_ffff,
          what: `the ${operand.name}`,
          isHex: true,
        },
        context.report,
      );
  }
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

interface Emitter {
  readonly context: ProgramContext;
  readonly out: Instruction[];
}

/** One instruction with its operands; returns how many items it took. */
const emitInstruction = (
  items: readonly ProgramItem[],
  index: number,
  { context, out }: Emitter,
): number => {
  const { word } = items[index] as { word: Word };
  const spec = specsOf(context.kind).find(({ op }) => op === word.text);
  if (spec === undefined) {
    unknownOp(word, context);
    let taken = 1;
    for (
      let next = items[index + taken];
      next?.kind === 'word' && next.word.isNumber;
      next = items[index + taken]
    )
      taken++;
    return taken;
  }
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
  const {
    context: { report },
    out,
  } = emitter;
  if (depth === limits.loopNesting) {
    report(repeat.head, `repeat nests at most ${limits.loopNesting} deep; write it flatter`);
    return;
  }
  if (repeat.count === undefined) report(repeat.head, 'repeat lacks its count; write repeat 3 {');
  const count =
    repeat.count === undefined
      ? undefined
      : numberIn(repeat.count, { min: 1, max: limits.steps, what: 'a count' }, report);
  out.push({ op: 'loop-begin', counter: depth, count: count ?? 1 });
  const target = out.length;
  emitItems(repeat.body, depth + 1, emitter);
  if (repeat.body.length === 0) report(repeat.head, 'there is nothing to repeat; fill the block');
  out.push({ op: 'loop-end', counter: depth, target });
};

const emitItems = (items: readonly ProgramItem[], depth: number, emitter: Emitter): void => {
  for (let i = 0; i < items.length; ) {
    const item = items[i]!;
    if (item.kind === 'repeat') {
      emitRepeat(item, depth, emitter);
      i++;
    } else i += emitInstruction(items, i, emitter);
  }
};

/** The instructions of a block; those that are wrong are reported and left out. */
export const programOf = (items: readonly ProgramItem[], context: ProgramContext): Program => {
  const out: Instruction[] = [];
  emitItems(items, 0, { context, out });
  return out;
};
