// What a step wrote, in words: leaves with old and new value, the call stack kept apart.

import { LOG_STRIDE } from '../../main/sim/arena/arena.ts';
import {
  differsAt,
  type Leaf,
  type LeafIndex,
  textOf,
  wordsOf,
} from '../../main/sim/arena/leaves.ts';

export interface Written {
  readonly path: string;
  readonly leaf: Leaf;
  readonly old: string;
  readonly now: string;
  /** the step stored the value that was there already */
  readonly same: boolean;
}

export interface WrittenStep {
  readonly fields: readonly Written[];
  /** words of actors' own bookkeeping */
  readonly stack: readonly Written[];
}

interface States {
  readonly before: Uint32Array;
  readonly words: Uint32Array;
}

interface WrittenState extends States {
  readonly of: { readonly index: LeafIndex };
  readonly writes: Uint32Array;
}

const isBookkeeping = (path: string): boolean => path.startsWith('actor[');

/** The word of a page as a leaf of its own: 4,096 bytes are not a value to read. */
export const pageWord = (leaf: Leaf, word: number): Leaf => ({
  ...leaf,
  path: `${leaf.path}[0x${((word - leaf.word) * 4).toString(16)}]`,
  kind: 'uint',
  word,
  width: 32,
  step: 1,
});

const setOf = (text: string): string[] => text.slice(1, -1).split(' ').filter(Boolean);

/** Old and new value; of a bit set only the bits that came and went. */
export const changeText = (states: States, leaf: Leaf): { old: string; now: string } => {
  const old = textOf(states.before, leaf);
  const now = textOf(states.words, leaf);
  if (leaf.kind !== 'bits') return { old, now };
  const [was, is] = [setOf(old), setOf(now)];
  if (was.length + is.length < 6) return { old, now };
  const went = was.filter((bit) => !is.includes(bit)).map((bit) => `−${bit}`);
  const came = is.filter((bit) => !was.includes(bit)).map((bit) => `+${bit}`);
  return { old: `${was.length} set`, now: [...went, ...came].join(' ') };
};

const leavesOfWord = (index: LeafIndex, word: number, states: States): Leaf[] => {
  const all = index.at(word).map((leaf) => (leaf.kind === 'bytes' ? pageWord(leaf, word) : leaf));
  const differing = all.filter((leaf) => differsAt(states.before, states.words, leaf));
  return differing.length > 0 ? differing : all.slice(0, 1);
};

/** Decodes the writes of a step; each leaf once, in the order of the first write. */
export const writtenBy = (index: LeafIndex, writes: Uint32Array, states: States): WrittenStep => {
  const fields = new Map<string, Written>();
  const stack = new Map<string, Written>();
  for (let i = 0; i < writes.length; i += LOG_STRIDE) {
    for (const leaf of leavesOfWord(index, writes[i]!, states)) {
      const into = isBookkeeping(leaf.path) ? stack : fields;
      if (into.has(leaf.path)) continue;
      const same = !differsAt(states.before, states.words, leaf);
      into.set(leaf.path, { path: leaf.path, leaf, same, ...changeText(states, leaf) });
    }
  }
  return { fields: [...fields.values()], stack: [...stack.values()] };
};

/** The first field that the step wrote a new value to. */
export const firstWritten = (state: WrittenState | undefined): string | undefined => {
  if (state === undefined) return undefined;
  const { fields } = writtenBy(state.of.index, state.writes, state);
  return (fields.find((field) => !field.same) ?? fields[0])?.path;
};

/** The paths of the leaves that a set of words belongs to. */
export const leavesTouched = (index: LeafIndex, words: ReadonlySet<number>): Leaf[] => {
  const found = new Set<Leaf>();
  for (const word of words) for (const leaf of index.at(word)) found.add(leaf);
  return [...found];
};

/** First and last bytes of a page, and how many words of it are not zero. */
export const pageText = (words: Uint32Array, leaf: Leaf): string => {
  let set = 0;
  for (let i = 0; i < wordsOf(leaf); i++) if (words[leaf.word + i] !== 0) set++;
  return set === 0 ? `${leaf.width / 8} bytes, all 0` : `${set} of ${wordsOf(leaf)} words set`;
};

/** The value of a leaf on one line. */
export const lineOf = (words: Uint32Array, leaf: Leaf): string =>
  leaf.kind === 'bytes' ? pageText(words, leaf) : textOf(words, leaf);
