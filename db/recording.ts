/** A recording that is open: what it says of itself, and the questions that it answers. */
import type { RecordType } from '#sim/arena/fields.ts';
import type { Window } from '#sim/arena/window.ts';
import type { Check } from '#sim/checks/check.ts';
import type { Finding, RecordingEnd, RecordingHeader, SiteEntry } from './header.ts';
import {
  type BisectRange,
  type BisectResult,
  bisectCheck,
  bisectPredicate,
} from './queries/bisect.ts';
import { type Choice, choices } from './queries/choices.ts';
import { diff } from './queries/diff.ts';
import { type FindRange, find, type Predicate } from './queries/find.ts';
import { type Overview, overview } from './queries/overview.ts';
import { type Change, type StepDetails, stepAt } from './queries/step.ts';
import { type Writer, type WritersRange, writers } from './queries/writers.ts';
import { Reader, type WindowBytes } from './reader.ts';

export interface Recording {
  readonly path: string;
  /** of the file, a log that a kill left included */
  readonly bytes: number;
  readonly header: RecordingHeader;
  readonly layout: RecordType;
  readonly sites: readonly SiteEntry[];
  readonly findings: readonly Finding[];
  readonly steps: number;
  /** how the run ended; undefined if the recorder did not finish */
  readonly end: RecordingEnd | undefined;
  /** the last position that could be read, if the recorder did not finish */
  readonly recoveredTo: number | undefined;
  /** the arena at position 0: what `decodeWindow` needs beside the bytes of a window */
  readonly boot: Uint32Array;
  /** for the questions in `queries/` that are not listed here, and for tests */
  readonly reader: Reader;

  /** The undeflated bytes of the window that holds `position`. */
  windowAt(position: number): WindowBytes;
  /** The same, decoded and shared: do not change it. */
  decodedAt(position: number): Window;
  /** The state at `position`, in an array of the caller's own. */
  stateAt(position: number): Uint32Array;
  stepAt(step: number): StepDetails;
  /** What differs from position `a` to `b`, at the fields that the globs name or at all. */
  diff(a: number, b: number, globs?: readonly string[]): Change[];
  /** Steps that wrote a field, newest first. */
  writers(path: string, range?: WritersRange): Writer[];
  /** Positions at which the predicate becomes true, ascending. */
  find(predicate: Predicate, range?: FindRange): number[];
  /** The earliest step after `from` that made the predicate bad. */
  bisectPredicate(isBad: Predicate, range?: BisectRange): BisectResult;
  bisectCheck(check: Check, range?: BisectRange): BisectResult;
  overview(from: number, to: number, buckets: number): Overview;
  /** The schedule that the run followed, run-length encoded. */
  choices(to?: number): Choice[];
  close(): void;
}

/** Opens a recording and checks it; a `RecordingError` says in one sentence what is wrong. */
export const openRecording = (path: string): Recording => {
  const reader = new Reader(path);
  const { bytes, header, sites, findings, steps, end, boot } = reader;
  return {
    path,
    bytes,
    header,
    layout: header.layout,
    sites,
    findings,
    steps,
    end,
    boot,
    reader,
    recoveredTo: end === undefined ? steps : undefined,
    windowAt: (position) => reader.windowBytes(position),
    decodedAt: (position) => reader.window(position),
    stateAt: (position) => reader.stateAt(position),
    stepAt: (step) => stepAt(reader, step),
    diff: (a, b, globs) => diff(reader, a, b, globs),
    writers: (fieldPath, range) => writers(reader, fieldPath, range),
    find: (predicate, range) => find(reader, predicate, range),
    bisectPredicate: (isBad, range) => bisectPredicate(reader, isBad, range),
    bisectCheck: (check, range) => bisectCheck(reader, check, range),
    overview: (from, to, buckets) => overview(reader, from, to, buckets),
    choices: (to) => choices(reader, to),
    close: () => reader.close(),
  };
};
