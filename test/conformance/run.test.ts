// Running cases: what passes, and that nothing unknown does.

import { expect, test } from 'vitest';
import type { Case, Suite } from '../../main/conformance/load.ts';
import { loadSuites } from '../../main/conformance/load.ts';
import { runCase, runSuites } from '../../main/conformance/run.ts';
import { caseFolder, goodCase, toy, writeSuite } from './files.ts';

const folder = caseFolder();

const load = (name: string, cases: readonly object[], over: object = {}): Suite =>
  loadSuites([writeSuite(folder, name, { ...over, cases, case_count: cases.length })])[0]!;

const firstOf = (name: string, one: object, over: object = {}): Case =>
  load(name, [{ ...goodCase, ...one }], over).cases[0]!;

const run = (one: Case, profile = 'k6.19') => runCase(toy, { suite: 'toy.tpr' }, one, profile);

test('cases pass, fail and are skipped by the count', () => {
  const wrong = { ...goodCase, id: 'c-2', expect: { tpr: 6, outcome: 'completes' } };
  const suite = load('mixed', [goodCase, wrong]);
  const all = runSuites([suite], [toy], { profile: 'k6.19' });
  expect(all).toMatchObject({ passed: 1, failed: 1, skipped: 0 });
  expect(all.suites[0]!.failures).toEqual([{ case: 'c-2', expected: { tpr: 6 }, got: { tpr: 5 } }]);
  const one = runSuites([suite], [toy], { profile: 'k6.19', only: 'c-1' });
  expect(one).toMatchObject({ passed: 1, failed: 0, skipped: 1 });
});

test('each case starts from a machine of its own', () => {
  const first = { ...goodCase, expect: {} };
  const second = { id: 'c-2', given: {}, op: { op: 'none' }, expect: { tpr: 0 } };
  const result = runSuites([load('fresh', [first, second])], [toy], { profile: 'k6.19' });
  expect(result).toMatchObject({ passed: 2, failed: 0 });
});

test.each<[string, object, object]>([
  ['given', { given: { mood: 1 } }, { path: 'given', got: 'no adapter knows given "mood"' }],
  ['given that is inherited', { given: { toString: 1 } }, { path: 'given' }],
  ['operation', { op: { op: 'jump' } }, { path: 'op', got: 'no adapter knows op "jump"' }],
  ['key of expect', { expect: { x: 1 } }, { path: 'x', got: 'no adapter knows expect "x"' }],
])('an unknown %s is a failure', (name, over, found) => {
  expect(run(firstOf(`unknown ${name}`, over))).toMatchObject([found]);
});

test('an error of the model is a failure of the case', () => {
  expect(run(firstOf('error', { op: { op: 'break' } }))).toMatchObject([
    { path: 'op', got: 'the toy is broken' },
  ]);
});

test('a model that nobody plays fails, and is not skipped', () => {
  const suite = load('foreign', [goodCase], { model: 'abacus' });
  expect(runSuites([suite], [toy], { profile: 'k6.19' })).toMatchObject({ failed: 1, skipped: 0 });
});

const step = (value: number, tpr: number) => ({ op: 'set-tpr', value, expect: { tpr } });

test('a sequence fails at its first wrong step, and ends there', () => {
  const sequence = [step(1, 1), step(2, 3), step(4, 5)];
  const one = firstOf('steps', { op: undefined, sequence }, { kind: 'sequence' });
  expect(run(one)).toEqual([{ path: 'sequence[1].tpr', expected: 3, got: 2 }]);
});

test('an old kernel is held to what cases say of it', () => {
  const one = firstOf('old', { 'expect_v6.16': { tpr: 7 } });
  expect(run(one)).toEqual([]);
  expect(run(one, 'k6.13')).toEqual([{ path: 'tpr', expected: 7, got: 5 }]);
});

test('where an old kernel goes another way it has to, and not before', () => {
  const branching = (name: string, from: number) => {
    const sequence = [step(1, 1), step(2, 9), step(3, 9)];
    const over = { op: undefined, sequence, expect: {}, 'differs_in_v6.16_from_step': from };
    return firstOf(name, over, { kind: 'sequence' });
  };
  expect(run(branching('branch', 1))).toMatchObject([{ path: 'sequence[1].tpr' }]);
  expect(run(branching('branch', 1), 'k6.13')).toEqual([]);
  expect(run(branching('late branch', 2), 'k6.13')).toMatchObject([{ path: 'sequence[1].tpr' }]);
  expect(run(branching('early branch', 0), 'k6.13')).toEqual([
    { path: 'sequence[0]', expected: 'another answer than later kernels give', got: 'the same' },
  ]);
});

test('without a profile a suite has its own, and a case is held to its words on v6.16 too', () => {
  const old = { ...goodCase, id: 'c-2', 'expect_v6.16': { tpr: 7 } };
  const suite = load('eras', [goodCase, old]);
  const newest = runSuites([suite], [toy], {});
  expect(newest.suites[0]).toMatchObject({ profile: 'k7.0', passed: 1, failed: 1 });
  expect(newest.suites[0]!.failures).toEqual([
    { case: 'c-2', expected: { 'v6.16: tpr': 7 }, got: { 'v6.16: tpr': 5 } },
  ]);
  const older = { ...toy, profileFor: () => 'k6.19' };
  expect(runSuites([suite], [older], {}).suites[0]!.profile).toBe('k6.19');
  expect(runSuites([suite], [older], { profile: 'k6.6' })).toMatchObject({
    suites: [{ profile: 'k6.6' }],
    failed: 0,
  });
});
