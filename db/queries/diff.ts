/** What differs between two positions? */
import { differsAt, type Leaf, leavesMatching } from '#sim/arena/leaves.ts';
import { demand } from '../failure.ts';
import type { Reader } from '../reader.ts';
import { type Change, changeAt } from './step.ts';

/** The leaves that any of the globs names, in order of declaration; all if there is none. */
export const leavesOfGlobs = (reader: Reader, globs: readonly string[]): readonly Leaf[] => {
  if (globs.length === 0) return reader.leafIndex.leaves;
  const found = new Map<string, Leaf>();
  for (const glob of globs) {
    const leaves = leavesMatching(reader.header.layout, glob);
    demand(leaves.length > 0, `${reader.path}: has no field ${glob}; list them with fields`);
    for (const leaf of leaves) found.set(leaf.path, leaf);
  }
  return [...found.values()].sort((a, b) => a.word - b.word || a.bit - b.bit);
};

export const diff = (
  reader: Reader,
  a: number,
  b: number,
  globs: readonly string[] = [],
): Change[] => {
  const before = reader.stateAt(a);
  const after = reader.stateAt(b);
  return leavesOfGlobs(reader, globs)
    .filter((leaf) => differsAt(before, after, leaf))
    .map((leaf) => changeAt(leaf, before, after));
};
