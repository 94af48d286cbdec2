/**
 * The expression language over fields: what `expect final`, `find` and `bisect` ask of a state.
 * Operators bind as in C; numbers are whole and exact at any width. An expression is compiled to
 * closures over the words of the arena; nothing is ever executed as code.
 */
import type { RecordType } from '../arena/fields.ts';
import { type Leaf, leavesMatching } from '../arena/leaves.ts';
import { bigintOf } from './compile/context.ts';
import {
  type Diagnostic,
  diagnosticsOf,
  instead,
  type Problem,
  problemAt,
  type Span,
} from './diagnostics.ts';
import {
  readChanged,
  readFlag,
  readHighest,
  readNumber,
  readPopcount,
  type Words,
  wordNumbers,
} from './expression/leaf_values.ts';
import { exact, highest, negate, popcount, type Value } from './expression/numbers.ts';
import {
  asBool,
  asNumber,
  binaryPart,
  boolPart,
  numberPart,
  type Part,
} from './expression/operators.ts';
import { findPath } from './expression/paths.ts';
import type { ExpressionTree, Word } from './parse/tree.ts';
import { parseExpression } from './parse.ts';

export interface Expression {
  readonly text: string;
  /** every word that it reads, in ascending order: where none of them changed, neither did it */
  readonly words: readonly number[];
  /** does it look at the state before, so that equal words can give another value? */
  readonly usesPrevious: boolean;
  value(words: Words, previous?: Words): Value | boolean;
  /** Is the value true, or a number other than 0? */
  test(words: Words, previous?: Words): boolean;
}

/** What can be called, with its meaning for help and completion. */
export const expressionFunctions = [
  {
    name: 'changed',
    doc: 'true if the field, or any below the path, differs from the state before',
  },
  { name: 'popcount', doc: 'how many bits are set' },
  { name: 'highest', doc: 'number of the highest bit that is set, −1 if none is' },
] as const;

type Names = { readonly [name: string]: number } | undefined;

/** Thrown inside this file only, and caught where a tree was begun: the first problem ends it. */
class Fault extends Error {
  readonly problem: Problem;

  constructor(span: Span, message: string) {
    super(message);
    this.problem = problemAt(span, message);
  }
}

/** What is gathered while a tree is compiled. */
interface Gathered {
  readonly layout: RecordType;
  readonly words: Set<number>;
  usesPrevious: boolean;
}

const leafOf = (word: Word, { layout }: Gathered): Leaf => {
  const found = findPath(layout, word);
  if ('problem' in found) throw new Fault(found.problem, found.problem.message);
  if ('leaf' in found) return found.leaf;
  const fields = found.record.fields.slice(0, 3).map(({ name }) => `${word.text}.${name}`);
  throw new Fault(
    word,
    `${word.text} is a whole ${found.record.name}; ` +
      `name a field of it, such as ${fields.join(', ')}`,
  );
};

const partOfLeaf = (leaf: Leaf, word: Word, gathered: Gathered): Part => {
  if (leaf.kind === 'bytes') {
    throw new Fault(
      word,
      `${word.text} is the bytes of a page; ` + `name a word of it, such as ${word.text}[0x80]`,
    );
  }
  for (const number of wordNumbers(leaf)) gathered.words.add(number);
  return leaf.kind === 'flag' ? boolPart(readFlag(leaf)) : numberPart(readNumber(leaf));
};

const constantPart = (value: Value): Part => numberPart(() => value, value);

const isBare = (word: Word): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(word.text);

/** A field, `true` or `false`, or the name of a value of the field on the other side. */
const pathPart = (word: Word, names: Names, gathered: Gathered): Part => {
  if (word.text === 'true' || word.text === 'false') {
    const value = word.text === 'true';
    return boolPart(() => value);
  }
  const isField = gathered.layout.fields.some(({ name }) => name === word.text);
  if (names !== undefined && isBare(word) && !isField) {
    const value = names[word.text];
    if (value !== undefined) return constantPart(value);
    throw new Fault(
      word,
      `the field beside it has no value "${word.text}"; ${instead(word.text, Object.keys(names))}`,
    );
  }
  return partOfLeaf(leafOf(word, gathered), word, gathered);
};

/** Names of the values that the tree can have: those of the field in it. */
const namesOf = (tree: ExpressionTree, layout: RecordType): Names => {
  switch (tree.kind) {
    case 'number':
      return undefined;
    case 'path': {
      const found = findPath(layout, tree.word);
      const format = 'leaf' in found ? found.leaf.format : undefined;
      return typeof format === 'object' ? format : undefined;
    }
    case 'call':
      return tree.name.text === 'highest' ? namesOf(tree.argument, layout) : undefined;
    case 'unary':
      return undefined;
    case 'binary':
      return undefined;
  }
};

const changedPart = (argument: ExpressionTree, name: Word, gathered: Gathered): Part => {
  if (argument.kind !== 'path') {
    throw new Fault(name, 'changed() takes a field; write changed(PATH)');
  }
  const found = findPath(gathered.layout, argument.word);
  if ('problem' in found) throw new Fault(found.problem, found.problem.message);
  const leaves =
    'leaf' in found ? [found.leaf] : leavesMatching(gathered.layout, `${found.path}.**`);
  for (const leaf of leaves) for (const word of wordNumbers(leaf)) gathered.words.add(word);
  gathered.usesPrevious = true;
  return boolPart(readChanged(leaves));
};

/** popcount and highest of a set of bits read its words; of anything else, its value. */
const bitsPart = (
  argument: ExpressionTree,
  which: 'popcount' | 'highest',
  gathered: Gathered,
): Part => {
  const found =
    argument.kind === 'path' && argument.word.text !== 'true' && argument.word.text !== 'false'
      ? leafOf(argument.word, gathered)
      : undefined;
  if (found?.kind === 'bits' || found?.kind === 'bytes') {
    for (const word of wordNumbers(found)) gathered.words.add(word);
    return numberPart(which === 'popcount' ? readPopcount(found) : readHighest(found));
  }
  const read = asNumber(partOf(argument, undefined, gathered));
  const count = which === 'popcount' ? popcount : highest;
  return numberPart((words, previous) => count(read(words, previous)));
};

const callPart = (
  { name, argument }: Extract<ExpressionTree, { kind: 'call' }>,
  gathered: Gathered,
): Part => {
  const known = expressionFunctions.find((f) => f.name === name.text);
  if (known === undefined) {
    const names = expressionFunctions.map((f) => f.name);
    throw new Fault(name, `there is no function "${name.text}"; ${instead(name.text, names)}`);
  }
  return known.name === 'changed'
    ? changedPart(argument, name, gathered)
    : bitsPart(argument, known.name, gathered);
};

const partOf = (tree: ExpressionTree, names: Names, gathered: Gathered): Part => {
  switch (tree.kind) {
    case 'number': {
      const value = bigintOf(tree.word.text);
      if (value === undefined) {
        throw new Fault(tree.word, `"${tree.word.text}" is no number; write it as 10 or 0xa`);
      }
      return constantPart(exact(value));
    }
    case 'path':
      return pathPart(tree.word, names, gathered);
    case 'call':
      return callPart(tree, gathered);
    case 'unary': {
      const operand = partOf(tree.operand, undefined, gathered);
      if (tree.operator === '!') {
        const read = asBool(operand);
        return boolPart((words, previous) => !read(words, previous));
      }
      if (operand.kind === 'number' && operand.constant !== undefined) {
        return constantPart(negate(operand.constant));
      }
      const read = asNumber(operand);
      return numberPart((words, previous) => negate(read(words, previous)));
    }
    case 'binary': {
      const { layout } = gathered;
      const left = partOf(tree.left, namesOf(tree.right, layout), gathered);
      const right = partOf(tree.right, namesOf(tree.left, layout), gathered);
      return binaryPart(tree.operator, left, right);
    }
  }
};

/** Compiles a tree that was parsed as part of a scenario; `text` is what it was written as. */
export const compileTree = (
  tree: ExpressionTree,
  layout: RecordType,
  text: string,
): { expression: Expression } | { problems: readonly Problem[] } => {
  const gathered: Gathered = { layout, words: new Set(), usesPrevious: false };
  try {
    const part = partOf(tree, undefined, gathered);
    const test = asBool(part);
    const words = [...gathered.words].sort((a, b) => a - b);
    const { usesPrevious } = gathered;
    return {
      expression: {
        text,
        words,
        usesPrevious,
        value: (image, previous) => part.read(image, previous),
        test: (image, previous) => test(image, previous),
      },
    };
  } catch (error) {
    if (error instanceof Fault) return { problems: [error.problem] };
    throw error;
  }
};

/** An expression over the fields of `layout`, or what is wrong with it. Never throws. */
export const compileExpression = (
  text: string,
  layout: RecordType,
): { expression: Expression } | { diagnostics: readonly Diagnostic[] } => {
  const { tree, problems } = parseExpression(text);
  if (tree === undefined || problems.length > 0) {
    return { diagnostics: diagnosticsOf(text, problems) };
  }
  const compiled = compileTree(tree, layout, text.trim());
  return 'expression' in compiled
    ? compiled
    : { diagnostics: diagnosticsOf(text, compiled.problems) };
};
