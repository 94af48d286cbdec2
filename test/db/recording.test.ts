import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { decodeWindow, move, stateAt } from '#sim/arena/window.ts';
import { levelOfStep, levelsOf, siteOfStep, sitesOf } from '#sim/arena/window_sites.ts';
import type { Finding } from '../../db/header.ts';
import {
  ended,
  folderForTest,
  historyOf,
  openForTest,
  recorded,
  recordedFile,
  recorderOf,
  takeSteps,
} from './recorded.ts';
import { sitesOfSynthetic, synthetic, syntheticSiteOf } from './synthetic.ts';

const steps = 9000;

test('every position of a recording is the state that the run had there', () => {
  const recording = recorded(steps);
  const { states } = historyOf(steps);
  expect(recording.steps).toBe(steps);
  for (const [position, state] of states.entries()) {
    expect(recording.stateAt(position)).toEqual(state);
  }
});

test('a keyframe with its steps is the next keyframe, and undone it is the boot image', () => {
  const recording = recorded(steps);
  let words: Uint32Array = recording.boot.slice();
  for (let first = 0; first < steps; ) {
    const window = recording.decodedAt(first);
    expect(window.keyframe).toEqual(words);
    stateAt(window, first + window.count, words);
    first += window.count;
  }
  words = recording.stateAt(steps);
  for (let end = steps; end > 0; ) {
    const window = recording.decodedAt(end - 1);
    move(window, end, window.first, words);
    end = window.first;
  }
  expect(words).toEqual(recording.boot);
});

test('the bytes of a window are all that the screen needs besides the boot image', () => {
  const recording = recorded(steps);
  const { states, actors } = historyOf(steps);
  const { first, count, bytes } = recording.windowAt(5000);
  const window = decodeWindow(bytes, recording.boot);
  expect([first, count]).toEqual([4096, 4096]);
  expect([...window.actors]).toEqual(actors.slice(first, first + count));
  const at = recording.reader.actorWords;
  const sites = sitesOf(window, at);
  const levels = levelsOf(window, at);
  for (let k = 0; k < count; k++) {
    const actor = actors[first + k]!;
    expect(sites[k]).toBe(states[first + k]![at.site[actor]!]);
    expect(levels[k]).toBe(states[first + k]![at.level[actor]!]);
  }
  expect(siteOfStep(window, at, 5000)).toBe(sites[5000 - first]);
  expect(levelOfStep(window, at, 5000)).toBe(levels[5000 - first]);
});

test('a recording says what it was made of and how the run ended', () => {
  const recording = recorded(100);
  const { header } = synthetic();
  expect(JSON.parse(JSON.stringify(recording.header))).toEqual(JSON.parse(JSON.stringify(header)));
  expect(recording.end).toEqual(ended);
  expect(recording.recoveredTo).toBeUndefined();
  expect(recording.sites.length).toBeGreaterThan(10);
  for (const site of recording.sites) expect(sitesOfSynthetic).toContainEqual(site);
});

test('a run that took no step is a recording of its boot image', () => {
  const recording = recorded(0);
  expect(recording.steps).toBe(0);
  expect(recording.stateAt(0)).toEqual(recording.boot);
  expect(recording.windowAt(0).count).toBe(0);
  expect(recording.decodedAt(0).count).toBe(0);
  expect(recording.choices()).toEqual([]);
  expect(recording.writers('device.wide')).toEqual([]);
  expect(recording.find({ reads: [], holds: () => true })).toEqual([0]);
  expect(recording.overview(0, 0, 3).counts.every((n) => n === 0)).toBe(true);
  expect(() => recording.stepAt(0)).toThrow(/the run took none/);
});

test('positions and steps that are not there are named with those that are', () => {
  const recording = recorded(10);
  for (const position of [-1, 11, 0.5, Number.NaN, 2 ** 40]) {
    expect(() => recording.stateAt(position)).toThrow(/they go from 0 to 10/);
  }
  expect(() => recording.stepAt(10)).toThrow(/they go from 0 to 9/);
  expect(() => recording.writers('device.nothing')).toThrow(/has no field device.nothing/);
});

test('a finished recording is one plain file', () => {
  const path = recordedFile(5000);
  expect(readdirSync(dirname(path))).toEqual([basename(path)]);
  expect([...readFileSync(path).subarray(18, 20)]).toEqual([1, 1]);
});

test('the same run gives the same recording, byte for byte', () => {
  expect(readFileSync(recordedFile(5000))).toEqual(readFileSync(recordedFile(5000)));
});

test('windows that were committed half full are replaced by the full ones', () => {
  const path = join(folderForTest(), 'run.apicrec');
  const machine = synthetic();
  const recorder = recorderOf(machine, path, { now: () => 0 });
  for (let part = 0; part < 30; part++) {
    takeSteps(machine, recorder, 300);
    recorder.flush();
    expect(recorder.stepsCommitted).toBe((part + 1) * 300);
  }
  recorder.finish(ended);
  const recording = openForTest(path);
  const { states } = historyOf(9000);
  expect(recording.reader.windowCount).toBe(3);
  for (const position of [0, 299, 300, 301, 4095, 4096, 4097, 8999, 9000]) {
    expect(recording.stateAt(position)).toEqual(states[position]);
  }
});

test('steps are committed when 100 ms have passed, whether a window is full or not', () => {
  let time = 0;
  const machine = synthetic();
  const path = join(folderForTest(), 'run.apicrec');
  const recorder = recorderOf(machine, path, { now: () => time });
  takeSteps(machine, recorder, 500);
  expect(recorder.stepsCommitted).toBe(0);
  time = 101;
  takeSteps(machine, recorder, 64);
  expect(recorder.stepsCommitted).toBeGreaterThanOrEqual(500);
  recorder.abandon();
});

test('a recorder that does not own the log of the arena leaves it alone', () => {
  const path = join(folderForTest(), 'run.apicrec');
  const machine = synthetic();
  const recorder = recorderOf(machine, path, { keepLog: true });
  takeSteps(machine, recorder, steps);
  recorder.finish(ended);
  expect(machine.arena.stepsKept).toBe(steps);
  const recording = openForTest(path);
  expect(recording.stateAt(8200)).toEqual(historyOf(8200).states[8200]);
});

test('a window ends early when its steps write very much', () => {
  const path = join(folderForTest(), 'run.apicrec');
  const machine = synthetic();
  const recorder = recorderOf(machine, path);
  for (let i = 0; i < 60; i++) {
    for (let k = 0; k < 20_000; k++) machine.arena.store(40 + (k % 64), k * i);
    machine.arena.closeStep();
    recorder.stepClosed(undefined, 0);
  }
  recorder.finish(ended);
  const recording = openForTest(path);
  expect(recording.steps).toBe(60);
  expect(recording.reader.windowCount).toBeGreaterThan(1);
  expect(recording.stateAt(60)).toEqual(machine.arena.words);
});

test('findings are stored as the checks made them', () => {
  const path = join(folderForTest(), 'run.apicrec');
  const machine = synthetic();
  const findings: Finding[] = [];
  const recorder = recorderOf(machine, path, { findings });
  takeSteps(machine, recorder, 100);
  const finding: Finding = {
    check: 'inv-x',
    position: 90,
    step: 89,
    actor: 1,
    vcpu: -1,
    message: 'ON is 1 – and PIR is empty',
    fields: ['device.a'],
  };
  findings.push(finding);
  recorder.flush();
  findings.push({ ...finding, position: 95, step: 94 });
  recorder.finish(ended);
  expect(openForTest(path).findings).toEqual(findings);
});

test('a schedule may be long, and is left out if it is too long to be read again', () => {
  for (const [length, stored] of [
    [5_000_000, 5_000_000],
    [(1 << 25) + 1, 0],
  ] as const) {
    const path = join(folderForTest(), 'run.apicrec');
    const machine = synthetic();
    const recorder = recorderOf(machine, path);
    takeSteps(machine, recorder, 10);
    recorder.finish({ ...ended, schedule: 'é'.repeat(length) });
    expect(openForTest(path).end?.schedule.length).toBe(stored);
  }
});

test('an unknown site prints as its number', () => {
  const path = join(folderForTest(), 'run.apicrec');
  const machine = synthetic();
  const recorder = recorderOf(machine, path, {
    siteOf: (id) => (id === sitesOfSynthetic[3]?.id ? undefined : syntheticSiteOf(id)),
  });
  takeSteps(machine, recorder, 200);
  recorder.finish(ended);
  const recording = openForTest(path);
  const names = Array.from({ length: 200 }, (_, step) => recording.stepAt(step).function);
  expect(names).toContain(`site 0x${sitesOfSynthetic[3]?.id.toString(16)}`);
});
