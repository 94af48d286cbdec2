/** The list of the windows of a recording: which steps each holds. */
import type Database from 'better-sqlite3';
import { positionMax, windowSteps } from '#sim/arena/window.ts';
import { WindowEncoder } from '#sim/arena/window_encoder.ts';
import { demand } from './failure.ts';
import type { Json } from './stored_layout.ts';
import { count } from './stored_rows.ts';

/** A row of the table `window` without its columns. */
export interface Span {
  readonly id: number;
  readonly first: number;
  readonly count: number;
}

const windowsMax = 1 << 22;

/** The windows, without a gap from step 0 on. */
export const readSpans = (db: Database.Database): Span[] => {
  const spans: Span[] = [];
  let next = 0;
  for (const row of db.prepare('SELECT id, first, count FROM "window" ORDER BY id').iterate()) {
    const { id, first, count: steps } = row as Json;
    demand(
      id === spans.length && first === next && spans.length < windowsMax,
      `window ${spans.length} is missing`,
    );
    const size = count(steps, windowSteps, `window ${spans.length}`);
    demand(size > 0, `window ${spans.length} is empty`);
    spans.push({ id: spans.length, first: next, count: size });
    next += size;
    demand(next <= positionMax, 'it has too many steps');
  }
  return spans;
};

/** What a run of no steps decodes to. */
export const emptyWindow = (boot: Uint32Array): Uint8Array => {
  const none = new Uint32Array(0);
  return new WindowEncoder(boot)
    .encode({
      first: 0,
      count: 0,
      keyframe: boot,
      actors: new Uint8Array(0),
      writes: none,
      ends: none,
      firstEnd: 0,
    })
    .slice();
};
