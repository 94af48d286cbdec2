/**
 * Whole numbers of any width, exact. A number that a double holds exactly is a `number`, any other
 * a `bigint`, so that each value has one form: `===` compares, and small numbers stay fast.
 */

export type Value = number | bigint;

export const exact = (value: bigint): Value =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : value;

export const add = (a: Value, b: Value): Value => {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return exact(BigInt(a) + BigInt(b));
};

export const negate = (a: Value): Value => (typeof a === 'number' ? 0 - a : exact(-a));

export const subtract = (a: Value, b: Value): Value => add(a, negate(b));

export const multiply = (a: Value, b: Value): Value => {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b;
    if (Number.isSafeInteger(product)) return product === 0 ? 0 : product;
  }
  return exact(BigInt(a) * BigInt(b));
};

/** Both fit 32 bits, where the operators of the language do. */
const small = (a: Value, b: Value): boolean =>
  (a as number) >>> 0 === a && (b as number) >>> 0 === b;

const isNumber = (a: Value): a is number => typeof a === 'number';

export const and = (a: Value, b: Value): Value =>
  isNumber(a) && isNumber(b) && small(a, b) ? (a & b) >>> 0 : exact(BigInt(a) & BigInt(b));
export const or = (a: Value, b: Value): Value =>
  isNumber(a) && isNumber(b) && small(a, b) ? (a | b) >>> 0 : exact(BigInt(a) | BigInt(b));
export const xor = (a: Value, b: Value): Value =>
  isNumber(a) && isNumber(b) && small(a, b) ? (a ^ b) >>> 0 : exact(BigInt(a) ^ BigInt(b));

/** Shifts go up to this; a shift by more, or by less than 0, gives 0. */
export const shiftMax = 255;

const isShift = (by: Value): by is number => isNumber(by) && by >= 0 && by <= shiftMax;

export const shiftLeft = (a: Value, by: Value): Value => {
  if (!isShift(by)) return 0;
  const product = isNumber(a) ? a * 2 ** by : Number.NaN;
  return Number.isSafeInteger(product) ? product : exact(BigInt(a) << BigInt(by));
};

/** Towards minus infinity, as an arithmetic shift does. */
export const shiftRight = (a: Value, by: Value): Value => {
  if (!isShift(by)) return 0;
  return isNumber(a) ? Math.floor(a / 2 ** by) : exact(a >> BigInt(by));
};

export const popcount32 = (value: number): number => {
  let v = value - ((value >>> 1) & 0x5555_5555);
  v = (v & 0x3333_3333) + ((v >>> 2) & 0x3333_3333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
};

/** Negative numbers count as 64-bit two's complement. */
const magnitude = (value: Value): bigint =>
  value < 0 ? BigInt.asUintN(64, BigInt(value)) : BigInt(value);

/** The bits that are set. */
export const popcount = (value: Value): number => {
  if (isNumber(value) && value >>> 0 === value) return popcount32(value);
  let sum = 0;
  for (let rest = magnitude(value); rest > 0n; rest >>= 32n) {
    sum += popcount32(Number(rest & 0xffff_ffffn));
  }
  return sum;
};

/** The number of the highest bit that is set, −1 if none is. */
export const highest = (value: Value): number => {
  if (isNumber(value) && value >>> 0 === value) return 31 - Math.clz32(value);
  return magnitude(value).toString(2).length - 1;
};
