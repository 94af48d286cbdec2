/** Who wrote a field? Opens only windows that write one of its words. */
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { type Leaf, leafAt, wordsOf } from '#sim/arena/leaves.ts';
import { entryAt, move, stateAt, type Window } from '#sim/arena/window.ts';
import { siteAt } from '#sim/arena/window_sites.ts';
import { demand } from '../failure.ts';
import type { Reader } from '../reader.ts';
import { type Change, changeAt, isWritten, type Place, placeOf } from './step.ts';

/** A step that wrote a field. */
export interface Writer extends Place, Change {
  readonly step: number;
  readonly actor: string;
}

export interface WritersRange {
  /** steps below this one; all unless given */
  readonly before?: number | undefined;
  /** steps from this one on; all unless given */
  readonly after?: number | undefined;
  readonly limit?: number | undefined;
}

export const wordsOfLeaf = (leaf: Leaf): number[] =>
  Array.from({ length: wordsOf(leaf) }, (_, i) => leaf.word + i * leaf.step);

interface Span {
  readonly low: number;
  readonly high: number;
}

/** Steps that wrote the field at `path` in the range, newest first. */
export const writers = (reader: Reader, path: string, range: WritersRange = {}): Writer[] => {
  const leaf = leafAt(reader.header.layout, path);
  demand(leaf !== undefined, `${reader.path}: has no field ${path}; list them with fields`);
  const span = {
    low: range.after ?? 0,
    high: Math.min(range.before ?? reader.steps, reader.steps),
  };
  const limit = range.limit ?? Number.POSITIVE_INFINITY;
  const found: Writer[] = [];
  for (const id of reader.windowsWriting(wordsOfLeaf(leaf)).reverse()) {
    if (found.length >= limit) break;
    const { first, count } = reader.spanOf(id);
    if (first >= span.high || first + count <= span.low) continue;
    collect(reader, leaf, { window: reader.windowById(id), span, limit, found });
  }
  return found;
};

interface Search {
  readonly window: Window;
  readonly span: Span;
  readonly limit: number;
  readonly found: Writer[];
}

/** Goes back through a window, one state behind the other. */
const collect = (reader: Reader, leaf: Leaf, { window, span, limit, found }: Search): void => {
  const words = new Set(wordsOfLeaf(leaf));
  const last = Math.min(span.high, window.first + window.count);
  const first = Math.max(span.low, window.first);
  const after = new Uint32Array(reader.boot.length);
  stateAt(window, last, after);
  const before = after.slice();
  for (let step = last - 1; step >= first && found.length < limit; step--) {
    move(window, step + 1, step, before);
    if (writesOne(window, step, words) && isWritten(reader, leaf, { before, after })) {
      found.push(writerAt(reader, leaf, { window, step, before, after }));
    }
    move(window, step + 1, step, after);
  }
};

const writesOne = (window: Window, step: number, words: ReadonlySet<number>): boolean => {
  const end = entryAt(window, step + 1);
  for (let i = entryAt(window, step); i < end; i += LOG_STRIDE) {
    if (words.has(window.writes[i]!)) return true;
  }
  return false;
};

interface Moment {
  readonly window: Window;
  readonly step: number;
  readonly before: Uint32Array;
  readonly after: Uint32Array;
}

const writerAt = (reader: Reader, leaf: Leaf, moment: Moment): Writer => {
  const actor = moment.window.actors[moment.step - moment.window.first]!;
  return {
    step: moment.step,
    actor: reader.header.actors[actor]!,
    ...placeOf(reader, siteAt(moment.before, reader.actorWords, actor)),
    ...changeAt(leaf, moment.before, moment.after),
  };
};
