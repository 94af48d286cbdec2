/**
 * At which positions does a predicate become true? It is asked again only after steps that write
 * a word that it reads, and windows without such a step are not opened.
 */
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { entryAt, move, stateAt, type Window } from '#sim/arena/window.ts';
import { demand } from '../failure.ts';
import type { Reader } from '../reader.ts';

export interface Predicate {
  /** the words that `holds` may read, of either state */
  readonly reads: readonly number[];
  /**
   * Does it look at `before`, as `changed(path)` does? Then it may also change its mind one step
   * after a write.
   */
  readonly comparesBefore?: boolean;
  /** `before` is the state one position earlier; at position 0 the same state */
  holds(words: Uint32Array, before: Uint32Array): boolean;
}

export interface FindRange {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly limit?: number | undefined;
}

export interface Turn {
  readonly position: number;
  readonly holds: boolean;
}

/** Counts evaluations for whoever wants to know what an answer cost. */
export interface Cost {
  evaluations: number;
}

/**
 * Where the predicate may have changed its mind: the first of `from` to `to`, then every position
 * after a step that wrote one of its words, each with its value.
 */
export const turnsOf = function* (
  reader: Reader,
  predicate: Predicate,
  range: { from: number; to: number; cost: Cost },
): Generator<Turn> {
  const reads = new Set(predicate.reads);
  const { from, to, cost } = range;
  const ask = (words: Uint32Array, before: Uint32Array): boolean => {
    cost.evaluations++;
    return predicate.holds(words, before);
  };
  const words = reader.stateAt(from);
  const before = from === 0 ? words : reader.stateAt(from - 1);
  yield { position: from, holds: ask(words, before) };
  let seen = from;
  // A step that wrote makes `before` differ: it is asked again one position later.
  let settles = predicate.comparesBefore === true;
  for (const id of reader.windowsWriting(reads)) {
    const { first, count } = reader.spanOf(id);
    if (first + count <= from || first >= to) continue;
    const start = Math.max(first, from);
    if (settles && seen < start) {
      stateAt(reader.windowById(id), start, words);
      yield { position: seen + 1, holds: ask(words, words) };
      settles = false;
      seen++;
    }
    for (const turn of turnsInside(reader.windowById(id), {
      reads,
      start,
      to,
      settles,
      compares: predicate.comparesBefore === true,
    })) {
      yield { position: turn.position, holds: ask(turn.words, turn.before) };
      seen = turn.position;
      settles = turn.wrote && predicate.comparesBefore === true;
    }
    seen = Math.max(seen, Math.min(first + count, to));
  }
  if (settles && seen < to) {
    const after = reader.stateAt(seen + 1);
    yield { position: seen + 1, holds: ask(after, after) };
  }
};

interface Inside {
  readonly reads: ReadonlySet<number>;
  readonly start: number;
  readonly to: number;
  /** the first step is to be asked about, whether it writes or not */
  readonly settles: boolean;
  readonly compares: boolean;
}

interface Moment {
  readonly position: number;
  readonly words: Uint32Array;
  readonly before: Uint32Array;
  readonly wrote: boolean;
}

const turnsInside = function* (window: Window, inside: Inside): Generator<Moment> {
  const { reads, start, compares } = inside;
  const end = Math.min(inside.to, window.first + window.count);
  const words = new Uint32Array(window.keyframe.length);
  stateAt(window, start, words);
  const before = compares ? words.slice() : words;
  let settles = inside.settles;
  for (let step = start; step < end; step++) {
    const wrote = writesOne(window, step, reads);
    move(window, step, step + 1, words);
    if (wrote || settles) yield { position: step + 1, words, before, wrote };
    settles = wrote && compares;
    if (compares) move(window, step, step + 1, before);
  }
};

const writesOne = (window: Window, step: number, reads: ReadonlySet<number>): boolean => {
  const end = entryAt(window, step + 1);
  for (let i = entryAt(window, step); i < end; i += LOG_STRIDE) {
    if (reads.has(window.writes[i]!)) return true;
  }
  return false;
};

/** Positions from `from` to `to`, both included, at which the predicate becomes true, ascending. */
export const find = (reader: Reader, predicate: Predicate, range: FindRange = {}): number[] => {
  const from = range.from ?? 0;
  const to = range.to ?? reader.steps;
  reader.demandPosition(from);
  reader.demandPosition(to);
  demand(from <= to, `${reader.path}: position ${to} is before ${from}; exchange them`);
  const limit = range.limit ?? Number.POSITIVE_INFINITY;
  const found: number[] = [];
  if (limit <= 0) return found;
  // What holds at `from` became true there only if it did not hold one position earlier.
  const start = Math.max(0, from - 1);
  let held = false;
  for (const turn of turnsOf(reader, predicate, { from: start, to, cost: { evaluations: 0 } })) {
    if (turn.holds && !held && turn.position >= from) found.push(turn.position);
    if (found.length >= limit) break;
    held = turn.holds;
  }
  return found;
};
