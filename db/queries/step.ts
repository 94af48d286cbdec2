/** What is step N: who took it, in which function, and what did it write? */
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { differsAt, type Leaf, type LeafValue, textOf, valueAt } from '#sim/arena/leaves.ts';
import { entryAt, move, stateAt, type Window } from '#sim/arena/window.ts';
import { levelAt, siteAt, stackAt } from '#sim/arena/window_sites.ts';
import type { Reader } from '../reader.ts';

/** A place in a function; an unknown site prints as its number. */
export interface Place {
  readonly function: string;
  readonly label: string;
}

/** How a field changed, as text for people and as values for programs. */
export interface Change {
  readonly path: string;
  readonly from: string;
  readonly to: string;
  readonly fromValue: LeafValue;
  readonly toValue: LeafValue;
}

export interface StepDetails extends Place {
  readonly step: number;
  readonly actor: string;
  readonly actorIndex: number;
  readonly level: number;
  /** outermost first; the last is the place of the step */
  readonly stack: readonly Place[];
  /** each field that it wrote, once, with its values before and after the step */
  readonly writes: readonly Change[];
}

export const placeOf = (reader: Reader, site: number): Place => {
  const known = reader.site(site);
  return known === undefined
    ? { function: `site 0x${site.toString(16)}`, label: '' }
    : { function: known.function, label: known.label };
};

export const changeAt = (leaf: Leaf, before: Uint32Array, after: Uint32Array): Change => ({
  path: leaf.path,
  from: textOf(before, leaf),
  to: textOf(after, leaf),
  fromValue: valueAt(before, leaf),
  toValue: valueAt(after, leaf),
});

/**
 * Does a write to a word write this leaf? A leaf with words of its own, yes; of leaves that share
 * a word, those whose bits changed.
 */
export const isWritten = (
  reader: Reader,
  leaf: Leaf,
  change: { before: Uint32Array; after: Uint32Array },
): boolean => {
  const [only, ...others] = reader.leafIndex.at(leaf.word);
  return (
    (only?.path === leaf.path && others.length === 0) ||
    differsAt(change.before, change.after, leaf)
  );
};

const writtenLeaves = (reader: Reader, window: Window, step: number): Set<Leaf> => {
  const leaves = new Set<Leaf>();
  const end = entryAt(window, step + 1);
  for (let i = entryAt(window, step); i < end; i += LOG_STRIDE) {
    for (const leaf of reader.leafIndex.at(window.writes[i]!)) leaves.add(leaf);
  }
  return leaves;
};

export const stepAt = (reader: Reader, step: number): StepDetails => {
  reader.demandStep(step);
  const window = reader.window(step);
  const before = new Uint32Array(reader.boot.length);
  stateAt(window, step, before);
  const after = before.slice();
  move(window, step, step + 1, after);
  const actorIndex = window.actors[step - window.first]!;
  const writes: Change[] = [];
  for (const leaf of writtenLeaves(reader, window, step)) {
    if (isWritten(reader, leaf, { before, after })) writes.push(changeAt(leaf, before, after));
  }
  const { actorWords } = reader;
  return {
    step,
    actor: reader.header.actors[actorIndex]!,
    actorIndex,
    level: levelAt(before, actorWords, actorIndex),
    ...placeOf(reader, siteAt(before, actorWords, actorIndex)),
    stack: stackAt(before, actorWords, actorIndex).map((site) => placeOf(reader, site)),
    writes,
  };
};
