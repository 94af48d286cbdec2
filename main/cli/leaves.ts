// Fields as a person names them on the command line: a path, a glob, and what to say of a wrong
// one.

import type { RecordType } from '#sim/arena/fields.ts';
import { type Leaf, leafAt, leavesMatching, leavesOf } from '#sim/arena/leaves.ts';
import { InputError, shortened, unknownName } from '../input_error.ts';

const globMax = 256;

/**
 * A glob that costs no more than its length: stars in a row would be tried in every combination.
 */
export function plainGlob(glob: string): string {
  if (glob.length <= globMax) return glob.replace(/\*{3,}/g, '**');
  throw new InputError(
    `"${shortened(glob, 40)}" is longer than ${globMax} characters; shorten it.`,
  );
}

/**
 * The leaves that any of the globs names, each once, in order of declaration; all if none is given.
 */
export function leavesNamed(layout: RecordType, globs: readonly string[] | undefined): Leaf[] {
  if (globs === undefined) return leavesOf(layout);
  const found = new Map<string, Leaf>();
  for (const glob of globs) {
    const leaves = leavesMatching(layout, plainGlob(glob));
    if (leaves.length === 0) throw unknownField(layout, glob);
    for (const leaf of leaves) found.set(leaf.path, leaf);
  }
  return [...found.values()].sort((a, b) => a.word - b.word || a.bit - b.bit);
}

/** The one leaf that a path names. */
export function leafNamed(layout: RecordType, path: string): Leaf {
  const leaf = leafAt(layout, plainGlob(path));
  if (leaf === undefined) throw unknownField(layout, path);
  return leaf;
}

export const unknownField = (layout: RecordType, path: string): InputError =>
  unknownName(
    'field',
    path,
    leavesOf(layout).map((leaf) => leaf.path),
  );
