// Searching: every seed can be run again alone, and threads make no difference.

import { expect, test, vi } from 'vitest';
import { policyText } from '#sim/sched/schedule.ts';
import { policyOfSeed, type Search, searchAll } from '../../main/search/search.ts';
import { added, emptyTally, type Tally } from '../../main/search/tally.ts';
import { verdictOf } from '../../main/search/verdict.ts';
import { compileLibrary, runLibrary, scenarioText } from '../sim/scenario_run.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const searchOf = (id: string, count: number, more: Partial<Search> = {}): Search => ({
  source: { name: id, path: `${id}.scn`, text: scenarioText(id), isBundled: true },
  protections: {},
  kinds: ['random', 'random-stretches', 'pct'],
  seeds: { from: 0, count },
  ...more,
});

const ran = (searches: readonly Search[], threads: number): Promise<Tally[]> =>
  searchAll(searches, { threads, signal: new AbortController().signal, report: () => undefined });

const ids = ['R15-k6.6-buggy', 'R15-k6.6-fixed'];

test('what a search comes to does not depend on how many threads do it', async () => {
  const searches = [
    ...ids.map((id) => searchOf(id, 60)),
    searchOf('R15-k6.6-buggy', 60, { until: ['inv-req-not-lost'] }),
  ];
  const [alone, three] = [await ran(searches, 1), await ran(searches, 3)];
  expect(three).toEqual(alone);
  const [buggy, fixed, until] = alone;
  expect(buggy).toMatchObject({ schedules: 60, isOver: false });
  expect(fixed).toMatchObject({
    schedules: 60,
    broken: undefined,
    halts: { quiet: { schedules: 60 } },
  });
  expect(until?.isOver).toBe(true);
  expect(until?.schedules).toBe(Number(buggy?.invariants['inv-req-not-lost']?.firstSeed) + 1);
});

test('a seed that broke an invariant breaks it again in a run of its own', async () => {
  const search = searchOf('R15-k6.6-buggy', 30);
  const [tally] = await ran([search], 1);
  const broken = Object.entries(tally!.invariants);
  expect(broken.length).toBeGreaterThan(0);
  for (const [invariant, { firstSeed }] of broken) {
    const schedule = policyText(policyOfSeed(search, firstSeed));
    const { findings } = runLibrary('R15-k6.6-buggy', { schedule });
    expect(findings.map(({ check }) => check)).toContain(invariant);
  }
});

test('a search that is aborted gives what was found until then', async () => {
  const abort = new AbortController();
  const report = (): void => abort.abort();
  const search = searchOf('R15-k6.6-fixed', 100_000);
  const [tally] = await searchAll([search], { threads: 2, signal: abort.signal, report });
  expect(tally?.schedules).toBeGreaterThan(0);
  expect(tally?.schedules).toBeLessThan(1000);
});

test('a fault inside a thread is told with the schedule that shows it', async () => {
  const source = { name: 'x', path: 'x.scn', text: 'scenario "x" vcpu9 { }', isBundled: false };
  await expect(ran([searchOf('R15-k6.6-fixed', 5, { source })], 2)).rejects.toThrow(/x\.scn:1:/);
});

const seen = { schedules: 1, firstSeed: 3 };
const quiet: Tally = { ...emptyTally, schedules: 1, halts: { quiet: seen } };

test('a scenario is judged by what it expects', () => {
  const { expectations: ofBuggy } = compileLibrary('R15-k6.6-buggy');
  const { expectations: ofFixed } = compileLibrary('R15-k6.6-fixed');
  const other: Tally = { ...quiet, broken: seen, invariants: { 'inv-irr-hint': seen } };
  const wanted: Tally = { ...other, invariants: { 'inv-req-not-lost': seen } };
  expect([quiet, other, wanted].map((tally) => verdictOf(ofBuggy, tally))).toEqual([
    'missed',
    'missed',
    'found',
  ]);
  const stuck: Tally = { ...quiet, halts: { deadlock: seen } };
  expect([quiet, other, stuck].map((tally) => verdictOf(ofFixed, tally))).toEqual([
    'clean',
    'breaks',
    'breaks',
  ]);
});

test('parts of a tally add up, up to the one that ends the search', () => {
  const over: Tally = { ...quiet, isOver: true };
  expect(added(quiet, quiet)).toMatchObject({
    schedules: 2,
    halts: { quiet: { schedules: 2, firstSeed: 3 } },
  });
  expect(added(over, quiet)).toBe(over);
});
