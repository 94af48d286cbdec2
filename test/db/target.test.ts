import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { RecordingError } from '../../db/failure.ts';
import { openRecording } from '../../db/recording.ts';
import { ended, folderForTest, recorderOf, takeSteps } from './recorded.ts';
import { synthetic } from './synthetic.ts';

const record = (path: string, steps: number, seed = 1): void => {
  const machine = synthetic({ seed });
  const recorder = recorderOf(machine, path);
  takeSteps(machine, recorder, steps);
  recorder.finish(ended);
};

const stepsOf = (path: string): number => {
  const recording = openRecording(path);
  recording.close();
  return recording.steps;
};

test('a new recording is written in place and can be opened while it is written', () => {
  const folder = folderForTest();
  const path = join(folder, 'run.apicrec');
  const machine = synthetic();
  const recorder = recorderOf(machine, path);
  expect(stepsOf(path)).toBe(0);
  takeSteps(machine, recorder, 5000);
  recorder.flush();
  const recording = openRecording(path);
  expect([recording.steps, recording.recoveredTo, recording.end]).toEqual([5000, 5000, undefined]);
  expect(recording.stateAt(5000)).toEqual(machine.arena.words);
  recording.close();
  takeSteps(machine, recorder, 1000);
  recorder.finish(ended);
  expect(stepsOf(path)).toBe(6000);
  expect(readdirSync(folder)).toEqual(['run.apicrec']);
});

test('a recording stands until the one that replaces it is whole', () => {
  const folder = folderForTest();
  const path = join(folder, 'run.apicrec');
  record(path, 300);
  const machine = synthetic({ seed: 2 });
  const recorder = recorderOf(machine, path);
  takeSteps(machine, recorder, 5000);
  recorder.flush();
  expect(stepsOf(path)).toBe(300);
  expect(stepsOf(`${path}.partial`)).toBe(5000);
  recorder.finish(ended);
  expect(stepsOf(path)).toBe(5000);
  expect(readdirSync(folder)).toEqual(['run.apicrec']);
});

test('an abandoned recording leaves things as they were', () => {
  const folder = folderForTest();
  const path = join(folder, 'run.apicrec');
  const machine = synthetic();
  const first = recorderOf(machine, path);
  takeSteps(machine, first, 5000);
  first.abandon();
  first.abandon();
  expect(readdirSync(folder)).toEqual([]);
  record(path, 300);
  const before = readFileSync(path);
  const again = synthetic();
  const second = recorderOf(again, path);
  takeSteps(again, second, 5000);
  second.abandon();
  expect(readdirSync(folder)).toEqual(['run.apicrec']);
  expect(readFileSync(path)).toEqual(before);
});

test('what exists and is not a recording is never replaced', () => {
  const folder = folderForTest();
  const path = join(folder, 'thesis.txt');
  writeFileSync(path, 'the only copy');
  expect(() => record(path, 10)).toThrow(/exists and is not a recording; move it away/);
  expect(readFileSync(path, 'utf8')).toBe('the only copy');
  mkdirSync(join(folder, 'folder'));
  expect(() => record(join(folder, 'folder'), 10)).toThrow(/is a folder/);
  expect(() => record(join(folder, 'none', 'run'), 10)).toThrow(/no such folder/);
  expect(() => record(join(path, 'run'), 10)).toThrow(RecordingError);
  expect(() => record('/dev/null', 10)).toThrow(/not an ordinary file/);
  writeFileSync(join(folder, 'new.partial'), 'mine');
  expect(() => record(join(folder, 'new'), 10)).toThrow(/new.partial: exists and is not/);
  expect(readdirSync(folder).sort()).toEqual(['folder', 'new.partial', 'thesis.txt']);
});

test('an empty file has nothing to lose and is replaced', () => {
  const path = join(folderForTest(), 'run.apicrec');
  writeFileSync(path, '');
  record(path, 10);
  expect(stepsOf(path)).toBe(10);
});

test('a recording behind a link is replaced where it is', () => {
  const folder = folderForTest();
  record(join(folder, 'real.apicrec'), 10);
  symlinkSync('real.apicrec', join(folder, 'link.apicrec'));
  record(join(folder, 'link.apicrec'), 20);
  expect(stepsOf(join(folder, 'real.apicrec'))).toBe(20);
  expect(readdirSync(folder).sort()).toEqual(['link.apicrec', 'real.apicrec']);
});

test('two runs that replace the same recording do not write into one file', () => {
  const path = join(folderForTest(), 'run.apicrec');
  record(path, 10);
  const machine = synthetic();
  const first = recorderOf(machine, path);
  takeSteps(machine, first, 20);
  first.flush();
  expect(() => record(path, 30)).toThrow(/another run is being recorded/);
  first.finish(ended);
  expect(stepsOf(path)).toBe(20);
});

/** Only root may; elsewhere the tests that need it are skipped. */
const mountProgram = 'mount';

/** A file system of its own with a bound; undefined where it cannot be had. */
const smallDisk = (size: string): string | undefined => {
  const folder = join(folderForTest(), 'disk');
  mkdirSync(folder);
  const mount = spawnSync(mountProgram, ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
  if (mount.status !== 0) return undefined;
  onTestFinished(() => {
    spawnSync(`u${mountProgram}`, [folder]);
  });
  return folder;
};

/** Records until it fails; gives the sentence. */
const recordUntilFull = (path: string): string => {
  const machine = synthetic();
  try {
    const recorder = recorderOf(machine, path);
    for (let i = 0; i < 500; i++) takeSteps(machine, recorder, 4096);
    recorder.finish(ended);
  } catch (error) {
    expect(error).toBeInstanceOf(RecordingError);
    return (error as RecordingError).message;
  }
  return 'it fitted';
};

test('a disk that gets full ends the recording in one sentence and leaves nothing of it', (t) => {
  const folder = smallDisk('600k');
  if (folder === undefined) return t.skip('no right to mount a small disk');
  const path = join(folder, 'run.apicrec');
  expect(recordUntilFull(path)).toMatch(/run.apicrec: there is no room left .*; free some space/);
  expect(readdirSync(folder)).toEqual([]);
  record(path, 10);
  expect(recordUntilFull(path)).toMatch(/there is no room left/);
  expect(stepsOf(path)).toBe(10);
  expect(readdirSync(folder)).toEqual(['run.apicrec']);
});

test('a disk that is full from the start leaves nothing', (t) => {
  const folder = smallDisk('8k');
  if (folder === undefined) return t.skip('no right to mount a small disk');
  expect(recordUntilFull(join(folder, 'run.apicrec'))).toMatch(/there is no room left/);
  expect(readdirSync(folder)).toEqual([]);
});

test('a folder that cannot be written to is named; recordings in it can be read', (t) => {
  const folder = smallDisk('4m');
  if (folder === undefined) return t.skip('no right to mount a small disk');
  record(join(folder, 'old.apicrec'), 5000);
  const machine = synthetic();
  const cutOff = recorderOf(machine, join(folder, 'cut.apicrec'));
  takeSteps(machine, cutOff, 5000);
  cutOff.flush();
  const remount = (how: string) => spawnSync(mountProgram, ['-o', `remount,${how}`, folder]).status;
  // A file that is open for writing would keep the disk writable: its bytes are copied instead.
  for (const suffix of ['', '-wal']) {
    const bytes = readFileSync(join(folder, `cut.apicrec${suffix}`));
    writeFileSync(join(folder, `killed.apicrec${suffix}`), bytes);
  }
  cutOff.abandon();
  expect(remount('ro')).toBe(0);
  expect(() => record(join(folder, 'new.apicrec'), 10)).toThrow(/folder cannot be written to/);
  expect(() => record(join(folder, 'old.apicrec'), 10)).toThrow(/folder cannot be written to/);
  expect(stepsOf(join(folder, 'old.apicrec'))).toBe(5000);
  expect(stepsOf(join(folder, 'killed.apicrec'))).toBe(5000);
  expect(existsSync(join(folder, 'new.apicrec.partial'))).toBe(false);
});
