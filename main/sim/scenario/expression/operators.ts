/** The operators, as closures over their operands. */
import type { Read } from './leaf_values.ts';
import {
  add,
  and,
  multiply,
  or,
  shiftLeft,
  shiftRight,
  subtract,
  type Value,
  xor,
} from './numbers.ts';

/** A part of an expression: a truth value or a number. A truth value counts as 0 or 1. */
export type Part =
  | { readonly kind: 'bool'; readonly read: Read<boolean> }
  | { readonly kind: 'number'; readonly read: Read<Value>; readonly constant: Value | undefined };

export const numberPart = (read: Read<Value>, constant?: Value): Part => ({
  kind: 'number',
  read,
  constant,
});
export const boolPart = (read: Read<boolean>): Part => ({ kind: 'bool', read });

export const asNumber = (part: Part): Read<Value> => {
  if (part.kind === 'number') return part.read;
  const { read } = part;
  return (words, previous) => (read(words, previous) ? 1 : 0);
};

export const asBool = (part: Part): Read<boolean> => {
  if (part.kind === 'bool') return part.read;
  const { read } = part;
  return (words, previous) => read(words, previous) !== 0;
};

const arithmetic: Readonly<Record<string, (a: Value, b: Value) => Value>> = {
  '|': or,
  '^': xor,
  '&': and,
  '+': add,
  '-': subtract,
  '*': multiply,
  '<<': shiftLeft,
  '>>': shiftRight,
};

const equals = (left: Part, right: Part): Read<boolean> => {
  const a = asNumber(left);
  const b = asNumber(right);
  if (right.kind === 'number' && right.constant !== undefined) {
    const { constant } = right;
    return (words, previous) => a(words, previous) === constant;
  }
  return (words, previous) => a(words, previous) === b(words, previous);
};

const not =
  (read: Read<boolean>): Read<boolean> =>
  (words, previous) =>
    !read(words, previous);

const less = (left: Part, right: Part): Read<boolean> => {
  const a = asNumber(left);
  const b = asNumber(right);
  return (words, previous) => a(words, previous) < b(words, previous);
};

const both = (left: Part, right: Part): Read<boolean> => {
  const a = asBool(left);
  const b = asBool(right);
  return (words, previous) => a(words, previous) && b(words, previous);
};

const either = (left: Part, right: Part): Read<boolean> => {
  const a = asBool(left);
  const b = asBool(right);
  return (words, previous) => a(words, previous) || b(words, previous);
};

const logic: Readonly<Record<string, (left: Part, right: Part) => Read<boolean>>> = {
  '==': equals,
  '!=': (l, r) => not(equals(l, r)),
  '<': less,
  '>': (l, r) => less(r, l),
  '>=': (l, r) => not(less(l, r)),
  '<=': (l, r) => not(less(r, l)),
  '&&': both,
  '||': either,
};

export const binaryPart = (operator: string, left: Part, right: Part): Part => {
  const logical = logic[operator];
  if (logical !== undefined) return boolPart(logical(left, right));
  const operate = arithmetic[operator]!;
  const a = asNumber(left);
  const b = asNumber(right);
  return numberPart((words, previous) => operate(a(words, previous), b(words, previous)));
};
