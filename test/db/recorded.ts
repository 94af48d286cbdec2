/** Folders and recordings for tests; both are gone when the test has ended. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { RecordingEnd } from '../../db/header.ts';
import { Recorder, type RecorderOptions } from '../../db/recorder.ts';
import { openRecording, type Recording } from '../../db/recording.ts';
import { type Synthetic, type SyntheticOptions, synthetic, syntheticSiteOf } from './synthetic.ts';

export const ended: RecordingEnd = {
  halt: 'steps-max',
  message: 'the run reached its bound',
  schedule: 'actor0',
  counters: { exits: 3 },
};

export const folderForTest = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'apicscope-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

export const recorderOf = (
  machine: Synthetic,
  path: string,
  more: Partial<RecorderOptions> = {},
): Recorder =>
  new Recorder({
    path,
    header: machine.header,
    arena: machine.arena,
    siteOf: syntheticSiteOf,
    ...more,
  });

export const takeSteps = (machine: Synthetic, recorder: Recorder, steps: number): void => {
  for (let i = 0; i < steps; i++) recorder.stepClosed(undefined, machine.step());
};

export const recordedFile = (steps: number, options?: SyntheticOptions): string => {
  const path = join(folderForTest(), 'run.apicrec');
  const machine = synthetic(options);
  const recorder = recorderOf(machine, path);
  takeSteps(machine, recorder, steps);
  recorder.finish(ended);
  return path;
};

export const openForTest = (path: string): Recording => {
  const recording = openRecording(path);
  onTestFinished(() => recording.close());
  return recording;
};

export const recorded = (steps: number, options?: SyntheticOptions): Recording =>
  openForTest(recordedFile(steps, options));

/** What happened, found out by taking the same steps again. */
export interface History {
  /** the state at each position */
  readonly states: readonly Uint32Array[];
  readonly actors: readonly number[];
}

export const historyOf = (steps: number, options?: SyntheticOptions): History => {
  const machine = synthetic(options);
  const states = [machine.arena.words.slice()];
  const actors: number[] = [];
  for (let i = 0; i < steps; i++) {
    actors.push(machine.step());
    states.push(machine.arena.words.slice());
  }
  return { states, actors };
};
