// What differs between two states of the machine.

import { differsAt, type Leaf, type LeafIndex, wordsOf } from '../../main/sim/arena/leaves.ts';
import { changeText, lineOfPage } from './texts.ts';

export interface Change {
  readonly path: string;
  readonly leaf: Leaf;
  readonly a: string;
  readonly b: string;
}

export interface ChangeFilter {
  readonly test: (path: string) => boolean;
  /** also the stacks of actors and what only checks read */
  readonly bookkeeping: boolean;
}

const isBookkeeping = (path: string): boolean =>
  path.startsWith('actor[') || path.includes('.spec.');

/** The fields that differ; of a page that differs, how many words do. */
export const changesBetween = (
  index: LeafIndex,
  a: Uint32Array,
  b: Uint32Array,
  filter: ChangeFilter,
): Change[] =>
  index.leaves
    .filter(
      (leaf) =>
        (filter.bookkeeping || !isBookkeeping(leaf.path)) &&
        filter.test(leaf.path) &&
        differsAt(a, b, leaf),
    )
    .map((leaf) => {
      const texts =
        leaf.kind === 'bytes' ? lineOfPage(a, b, leaf, wordsOf(leaf)) : changeText(a, b, leaf);
      return { path: leaf.path, leaf, ...texts };
    });
