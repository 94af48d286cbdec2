import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { Recorder } from '../../db/recorder.ts';
import { folderForTest, openForTest } from './recorded.ts';
import { synthetic, syntheticSiteOf } from './synthetic.ts';

const program = fileURLToPath(new URL('./endless.ts', import.meta.url));

interface Killed {
  readonly path: string;
  readonly folder: string;
  /** wall time and position, as the child told them */
  readonly told: readonly { readonly time: number; readonly position: number }[];
  readonly killedAt: number;
}

const output = (child: ChildProcess): { text: string } => {
  const seen = { text: '' };
  child.stdout?.on('data', (data) => {
    seen.text += String(data);
  });
  return seen;
};

/** Starts a recording and kills it so many milliseconds after its first steps. */
const killedAfter = async (milliseconds: number, stepsPerTurn: number): Promise<Killed> => {
  const folder = folderForTest();
  const path = join(folder, 'run.apicrec');
  const child = spawn(process.execPath, [program, path, String(stepsPerTurn)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const seen = output(child);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  const killedAt = Date.now();
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('close', resolve));
  const told = seen.text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [time, position] = line.split(' ').map(Number);
      return { time: time!, position: position! };
    });
  return { path, folder, told, killedAt };
};

/** The longest time between two turns of the child. */
const longestPause = (told: Killed['told']): number =>
  Math.max(0, ...told.map(({ time }, i) => time - (told[i - 1]?.time ?? time)));

const cases = [
  [0, 500],
  [30, 50],
  [250, 2000],
  [450, 20],
  [700, 5000],
  [1100, 300],
] as const;

for (const [milliseconds, stepsPerTurn] of cases) {
  test(`a run killed after ${milliseconds} ms at ${stepsPerTurn} steps a turn can be opened`, {
    timeout: 30_000,
  }, async () => {
    const { path, folder, told, killedAt } = await killedAfter(milliseconds, stepsPerTurn);
    const bytes = readFileSync(path);
    const files = readdirSync(folder);
    const recording = openForTest(path);
    const { steps, recoveredTo, end } = recording;
    expect(recoveredTo).toBe(steps);
    expect(end).toBeUndefined();
    // What was told 250 ms before the kill must be there. On a busy computer the child may have
    // stood still meanwhile; it cannot commit then.
    const safe =
      told.findLast(({ time }) => time <= killedAt - 250 - longestPause(told))?.position ?? 0;
    expect(steps).toBeGreaterThanOrEqual(safe);
    const machine = synthetic({ seed: 5 });
    for (let p = 0; p < steps; p++) {
      if (p % 997 === 0) expect(recording.stateAt(p)).toEqual(machine.arena.words);
      machine.step();
    }
    expect(recording.stateAt(steps)).toEqual(machine.arena.words);
    // Reading it has changed nothing.
    expect(readFileSync(path)).toEqual(bytes);
    expect(readdirSync(folder)).toEqual(files);
  });
}

test('a killed recording can be replaced, and its log does not reach the new one', {
  timeout: 30_000,
}, async () => {
  const { path, folder } = await killedAfter(300, 1000);
  const { arena, header, step } = synthetic({ seed: 9 });
  const recorder = new Recorder({ path, header, arena, siteOf: syntheticSiteOf });
  for (let i = 0; i < 700; i++) recorder.stepClosed(undefined, step());
  recorder.finish({ halt: 'quiet', message: '', schedule: '', counters: {} });
  const recording = openForTest(path);
  expect([recording.steps, recording.recoveredTo]).toEqual([700, undefined]);
  expect(recording.stateAt(700)).toEqual(arena.words);
  expect(readdirSync(folder)).toEqual(['run.apicrec']);
});
