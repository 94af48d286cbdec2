// Two values of a field as text, side by side.

import { type Leaf, textOf } from '../../main/sim/arena/leaves.ts';

export interface TwoTexts {
  readonly a: string;
  readonly b: string;
}

export const changeText = (a: Uint32Array, b: Uint32Array, leaf: Leaf): TwoTexts => ({
  a: textOf(a, leaf),
  b: textOf(b, leaf),
});

/** Of a page: the first word that differs, and how many do. */
export const lineOfPage = (a: Uint32Array, b: Uint32Array, leaf: Leaf, words: number): TwoTexts => {
  let count = 0;
  let first = -1;
  for (let i = 0; i < words; i++) {
    if (a[leaf.word + i] === b[leaf.word + i]) continue;
    if (first < 0) first = i;
    count++;
  }
  const at = `+0x${(first * 4).toString(16)}: `;
  const hex = (state: Uint32Array): string => `0x${(state[leaf.word + first] ?? 0).toString(16)}`;
  return { a: at + hex(a), b: `${hex(b)} (${count} words differ)` };
};
