/** Paths of fields as they are written in expressions: found, or what exactly is wrong. */
import type { Field, RecordType } from '../../arena/fields.ts';
import { type Leaf, leafAt } from '../../arena/leaves.ts';
import { instead, type Problem, type Span } from '../diagnostics.ts';
import type { Word } from '../parse/tree.ts';

interface Part extends Span {
  readonly name: string;
  /** between the brackets, if there are any */
  readonly index: string | undefined;
  readonly indexAt: number;
}

const partPattern = /^([A-Za-z_][A-Za-z0-9_]*)(?:\[([A-Za-z0-9_]+)\])?$/;

const partsOf = ({ text, offset }: Word): Part[] | Problem => {
  const parts: Part[] = [];
  let at = offset;
  for (const part of text.split('.')) {
    const match = partPattern.exec(part);
    if (match === null) {
      return {
        offset: at,
        length: Math.max(1, part.length),
        message: `"${part}" is no part of a path; write NAME or NAME[INDEX], joined by dots`,
      };
    }
    const [, name = '', index] = match;
    parts.push({ offset: at, length: part.length, name, index, indexAt: at + name.length + 1 });
    at += part.length + 1;
  }
  return parts;
};

/** The number in brackets: a number, or a name that the bits of the field have. */
const indexOf = (part: Part, field: Field): number | undefined => {
  const { index } = part;
  if (index === undefined) return undefined;
  const named = typeof field.format === 'object' ? field.format[index] : undefined;
  return field.kind === 'bits' && named !== undefined ? named : Number(index);
};

const countOf = (field: Field): number => (field.kind === 'bits' ? field.width : field.count);

const indexProblem = (part: Part, field: Field): Problem | undefined => {
  const { index, name, offset, length, indexAt } = part;
  if (index === undefined) {
    return field.kind !== 'array'
      ? undefined
      : { offset, length, message: `there are ${field.count} of ${name}; write ${name}[0]` };
  }
  const span = { offset: indexAt, length: index.length };
  if (field.kind !== 'array' && field.kind !== 'bits' && field.kind !== 'bytes') {
    return { offset, length, message: `${name} is a single field; remove [${index}]` };
  }
  const value = indexOf(part, field)!;
  if (!Number.isInteger(value)) {
    const names = typeof field.format === 'object' ? Object.keys(field.format) : [];
    const hint = names.length === 0 ? 'write a number' : instead(index, names);
    return { ...span, message: `${name} has no element "${index}"; ${hint}` };
  }
  const last = countOf(field) - 1;
  if (value > last)
    return { ...span, message: `${name} goes from 0 to ${last}; choose one of them` };
  return field.kind === 'bytes' && value % 4 !== 0
    ? { ...span, message: `${name} is read in words of 4 bytes; choose a multiple of 4` }
    : undefined;
};

export type Found =
  | { readonly leaf: Leaf }
  /** the path ends at a record or an array, with its fields below */
  | { readonly record: RecordType; readonly path: string }
  | { readonly problem: Problem };

const notField = (part: Part, record: RecordType): Problem => {
  const names = record.fields.map(({ name }) => name);
  return {
    offset: part.offset,
    length: part.name.length,
    message: `${record.name} has no field "${part.name}"; ${instead(part.name, names)}`,
  };
};

/** What the path names. Elements of bit sets may be named as well as numbered. */
export const findPath = (layout: RecordType, word: Word): Found => {
  const parts = partsOf(word);
  if (!Array.isArray(parts)) return { problem: parts };
  let record = layout;
  const plain: string[] = [];
  for (const [i, part] of parts.entries()) {
    const field = record.fields.find(({ name }) => name === part.name);
    if (field === undefined) return { problem: notField(part, record) };
    const problem = indexProblem(part, field);
    if (problem !== undefined) return { problem };
    const index = indexOf(part, field);
    plain.push(index === undefined ? part.name : `${part.name}[${index}]`);
    const isLast = i === parts.length - 1;
    if (field.of === undefined) {
      if (isLast) return { leaf: leafAt(layout, plain.join('.'))! };
      const next = parts[i + 1]!;
      return {
        problem: {
          offset: next.offset,
          length: next.length,
          message: `${part.name} has no fields of its own; end the path there`,
        },
      };
    }
    record = field.of;
  }
  return { record, path: plain.join('.') };
};
