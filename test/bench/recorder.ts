/** What recording costs, and what going to a position costs. `bench.ts` prints the figures. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { windowSteps } from '#sim/arena/window.ts';
import { Recorder } from '../../db/recorder.ts';
import { openRecording } from '../../db/recording.ts';
import { randomFrom, type Synthetic, synthetic, syntheticSiteOf } from '../db/synthetic.ts';

export interface RecorderFigures {
  readonly steps: number;
  /** steps a second of the run alone, and with the recorder */
  readonly bareStepsPerSecond: number;
  readonly recordedStepsPerSecond: number;
  /** what the recorder adds to a step, finishing included */
  readonly microsecondsPerStep: number;
  readonly bytesPerStep: number;
  /** how fast SQLite alone stores equally many bytes in rows of the same size */
  readonly rawInsertMegabytesPerSecond: number;
  readonly recordedMegabytesPerSecond: number;
  /** milliseconds from a random position to its state, nothing being cached */
  readonly seekP50: number;
  readonly seekP99: number;
}

const seconds = (work: () => void): number => {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
};

const takeSteps = (machine: Synthetic, steps: number, after: (actor: number) => void): void => {
  for (let i = 0; i < steps; i++) after(machine.step());
};

const bareRun = (steps: number, cells: number): number => {
  const machine = synthetic({ cells });
  let used = 0;
  return seconds(() =>
    takeSteps(machine, steps, () => {
      if (++used % windowSteps === 0) machine.arena.dropLog();
    }),
  );
};

const recordedRun = (path: string, steps: number, cells: number): number => {
  const machine = synthetic({ cells });
  return seconds(() => {
    const recorder = new Recorder({
      path,
      header: machine.header,
      arena: machine.arena,
      siteOf: syntheticSiteOf,
    });
    takeSteps(machine, steps, (actor) => recorder.stepClosed(undefined, actor));
    recorder.finish({ halt: 'steps-max', message: '', schedule: '', counters: {} });
  });
};

/** Rows of random bytes, as many and as long as the windows were, under the same settings. */
const rawInserts = (path: string, bytes: number, rows: number): number => {
  const blob = new Uint8Array(Math.ceil(bytes / rows));
  const random = randomFrom(7);
  for (let i = 0; i < blob.length; i++) blob[i] = random();
  return seconds(() => {
    const db = new Database(path);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)');
    const put = db.prepare('INSERT INTO t VALUES (?, ?)');
    for (let i = 0; i < rows; i++) put.run(i, blob);
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.close();
  });
};

const quantile = (sorted: Float64Array, part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;

/** One seek into each window, in a random order: none is decoded before. */
const seeks = (path: string): { p50: number; p99: number } => {
  const random = randomFrom(3);
  const recording = openRecording(path);
  const { steps } = recording;
  const firsts = Array.from({ length: Math.ceil(steps / windowSteps) }, (_, i) => i * windowSteps)
    .map((first) => ({ first, order: random() }))
    .sort((a, b) => a.order - b.order);
  const times = Float64Array.from(firsts, ({ first }) => {
    const position = Math.min(steps, first + (random() % windowSteps));
    const start = performance.now();
    recording.stateAt(position);
    return performance.now() - start;
  });
  recording.close();
  times.sort();
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
};

/** Records a synthetic run of about three writes a step on a machine of `cells` words and more. */
export const measureRecorder = (steps = 1_000_000, cells = 20_000): RecorderFigures => {
  const folder = mkdtempSync(join(tmpdir(), 'apicscope-bench-'));
  try {
    const path = join(folder, 'run.apicrec');
    recordedRun(join(folder, 'warm.apicrec'), Math.min(steps, 100_000), cells);
    const bare = bareRun(steps, cells);
    const recorded = recordedRun(path, steps, cells);
    const recording = openRecording(path);
    const { bytes } = recording;
    recording.close();
    const raw = rawInserts(join(folder, 'raw.db'), bytes, Math.ceil(steps / windowSteps));
    const { p50, p99 } = seeks(path);
    return {
      steps,
      bareStepsPerSecond: steps / bare,
      recordedStepsPerSecond: steps / recorded,
      microsecondsPerStep: ((recorded - bare) / steps) * 1e6,
      bytesPerStep: bytes / steps,
      rawInsertMegabytesPerSecond: bytes / raw / 1e6,
      recordedMegabytesPerSecond: bytes / recorded / 1e6,
      seekP50: p50,
      seekP99: p99,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
};
