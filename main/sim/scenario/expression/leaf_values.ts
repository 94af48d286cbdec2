/** Reading fields for expressions: a closure over their words. */
import { type Leaf, wordsOf } from '../../arena/leaves.ts';
import { exact, popcount32, type Value } from './numbers.ts';

export type Words = Uint32Array;
export type Read<T> = (words: Words, previous: Words | undefined) => T;

export const readFlag = ({ word, bit }: Leaf): Read<boolean> => {
  const mask = (1 << bit) >>> 0;
  return (words) => (words[word]! & mask) !== 0;
};

/** Numbers of the words of a leaf, lowest first. */
export const wordNumbers = (leaf: Leaf): number[] =>
  Array.from({ length: wordsOf(leaf) }, (_, i) => leaf.word + i * leaf.step);

const readWide = (leaf: Leaf): Read<Value> => {
  const numbers = wordNumbers(leaf).reverse();
  return (words) => {
    let value = 0n;
    for (const number of numbers) value = (value << 32n) | BigInt(words[number]!);
    return exact(value);
  };
};

const TWO_21 = 2 ** 21;
const TWO_32 = 2 ** 32;

/** The number at a leaf that is neither a flag nor the bytes of a page. */
export const readNumber = (leaf: Leaf): Read<Value> => {
  const { word, bit, width, kind, step } = leaf;
  if (width > 64) return readWide(leaf);
  if (width > 32) {
    const high = word + step;
    const wide = readWide(leaf);
    return (words, previous) =>
      words[high]! < TWO_21 ? words[high]! * TWO_32 + words[word]! : wide(words, previous);
  }
  if (kind === 'int') return (words) => words[word]! | 0;
  if (width === 32 || kind === 'bits') return (words) => words[word]!;
  const mask = 2 ** width - 1;
  return (words) => (words[word]! >>> bit) & mask;
};

/** The bits that are set in the words, without making one number of them. */
export const readPopcount = (leaf: Leaf): Read<number> => {
  const numbers = wordNumbers(leaf);
  return (words) => {
    let sum = 0;
    for (const number of numbers) sum += popcount32(words[number]!);
    return sum;
  };
};

export const readHighest = (leaf: Leaf): Read<number> => {
  const numbers = wordNumbers(leaf);
  return (words) => {
    for (let i = numbers.length - 1; i >= 0; i--) {
      const word = words[numbers[i]!]!;
      if (word !== 0) return i * 32 + 31 - Math.clz32(word);
    }
    return -1;
  };
};

/** The part of its word that a leaf owns. */
const maskOf = ({ kind, bit, width }: Leaf): number =>
  kind === 'flag' || (kind === 'uint' && width < 32)
    ? ((2 ** width - 1) << bit) >>> 0
    : 0xffff_ffff;

/** Does one of the leaves differ from the state before? Never, where there is no state before. */
export const readChanged = (leaves: readonly Leaf[]): Read<boolean> => {
  const masks = new Map<number, number>();
  for (const leaf of leaves) {
    for (const word of wordNumbers(leaf)) {
      masks.set(word, ((masks.get(word) ?? 0) | maskOf(leaf)) >>> 0);
    }
  }
  const numbers = [...masks.keys()];
  const wanted = [...masks.values()];
  return (words, previous) => {
    if (previous === undefined) return false;
    for (let i = 0; i < numbers.length; i++) {
      const word = numbers[i]!;
      if (((words[word]! ^ previous[word]!) & wanted[i]!) !== 0) return true;
    }
    return false;
  };
};
