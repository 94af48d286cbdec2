import fc from 'fast-check';
import { expect, test } from 'vitest';
import { differsAt, leafAt, leavesOf, textOf } from '#sim/arena/leaves.ts';
import type { Predicate } from '../../db/queries/find.ts';
import { historyOf, openForTest, recorded, recordedFile } from './recorded.ts';
import { sitesOfSynthetic } from './synthetic.ts';

// Five windows, of which the last is short.
const steps = 4096 * 4 + 700;
const path = (): string => recordedFile(steps);
const history = historyOf(steps);

const open = () => openForTest(path());

const leaf = (recording: ReturnType<typeof open>, name: string) =>
  leafAt(recording.layout, name) ?? expect.fail(`no leaf ${name}`);

test('a step says who took it where, and what it wrote', () => {
  const recording = open();
  const at = recording.reader.actorWords;
  for (const step of [0, 1, 4095, 4096, 8000, steps - 1]) {
    const actor = history.actors[step]!;
    const before = history.states[step]!;
    const after = history.states[step + 1]!;
    const details = recording.stepAt(step);
    const site = sitesOfSynthetic.find((s) => s.id === before[at.site[actor]!])!;
    expect(details).toMatchObject({
      step,
      actor: `actor${actor}`,
      level: before[at.level[actor]!],
      function: site.function,
      label: site.label,
      stack: [{ function: site.function, label: site.label }],
    });
    const changed = leavesOf(recording.layout).filter((l) => differsAt(before, after, l));
    const seen = new Map(details.writes.map((write) => [write.path, write]));
    for (const l of changed) {
      expect(seen.get(l.path)).toMatchObject({ from: textOf(before, l), to: textOf(after, l) });
    }
    for (const write of details.writes.filter((w) => w.from !== w.to)) {
      expect(changed.map((l) => l.path)).toContain(write.path);
    }
  }
});

test('a difference between two positions lists the fields whose values differ', () => {
  const recording = open();
  for (const [a, b] of [
    [0, steps],
    [5000, 5001],
    [9000, 100],
    [7, 7],
  ] as const) {
    const expected = leavesOf(recording.layout)
      .filter((l) => differsAt(history.states[a]!, history.states[b]!, l))
      .map((l) => [l.path, textOf(history.states[a]!, l), textOf(history.states[b]!, l)]);
    expect(recording.diff(a, b).map((c) => [c.path, c.from, c.to])).toEqual(expected);
  }
  const some = recording.diff(0, steps, ['device.*', 'actor[1].level']).map((c) => c.path);
  expect(some.every((p) => /^device\.|^actor\[1\]\.level$/.test(p))).toBe(true);
  expect(() => recording.diff(0, 1, ['nothing.*'])).toThrow(/has no field nothing/);
});

const fields = [
  'device.wide',
  'device.a',
  'device.b',
  'device.irr',
  'device.irr[0x1f]',
  'actor[1].level',
  'cell[5].value',
  'page[0x8]',
];

test('the writers of a field are the steps that changed it, newest first, and rewrote it', () => {
  const recording = open();
  for (const name of fields) {
    const l = leaf(recording, name);
    const changed = history.actors
      .flatMap((_, step) =>
        differsAt(history.states[step]!, history.states[step + 1]!, l) ? [step] : [],
      )
      .reverse();
    const all = recording.writers(name);
    expect(all.filter((w) => w.from !== w.to).map((w) => w.step)).toEqual(changed);
    for (const w of all.slice(0, 20)) {
      expect(w.actor).toBe(`actor${history.actors[w.step]}`);
      expect(w.from).toBe(textOf(history.states[w.step]!, l));
      expect(w.to).toBe(textOf(history.states[w.step + 1]!, l));
      expect(w.function).toMatch(/^function_/);
    }
    const inside = all.filter((w) => w.step >= 4000 && w.step < 9000);
    expect(recording.writers(name, { after: 4000, before: 9000 })).toEqual(inside);
    expect(recording.writers(name, { limit: 3 })).toEqual(all.slice(0, 3));
    expect(recording.writers(name, { before: 9000, limit: 1 }).map((w) => w.step)).toEqual(
      all
        .filter((w) => w.step < 9000)
        .slice(0, 1)
        .map((w) => w.step),
    );
  }
});

test('a field that was written in one window makes the query open that window only', () => {
  const recording = open();
  expect(recording.writers('actor[2].depth')).toEqual([]);
  expect(recording.reader.windowsOpened).toBe(0);
  recording.writers('device.wide', { limit: 1 });
  expect(recording.reader.windowsOpened).toBeLessThanOrEqual(1);
});

/** Positions at which the predicate is true and was not, found by looking at each. */
const slowly = (predicate: Predicate, from: number, to: number): number[] => {
  const holds = (p: number): boolean =>
    predicate.holds(history.states[p]!, history.states[Math.max(0, p - 1)]!);
  const found: number[] = [];
  for (let p = from; p <= to; p++) if (holds(p) && (p === 0 || !holds(p - 1))) found.push(p);
  return found;
};

const predicate = fc
  .record({
    word: fc.constantFrom(0, 3, 12, 15, 16, 17, 40, 1090, 1100, 1120),
    mask: fc.constantFrom(1, 3, 0x10, 0xf0),
    kind: fc.constantFrom('is', 'changed', 'unchanged', 'changed and is'),
  })
  .map(({ word, mask, kind }): Predicate => {
    const is = (words: Uint32Array): boolean => (words[word]! & mask) !== 0;
    const changed = (a: Uint32Array, b: Uint32Array): boolean => a[word] !== b[word];
    const holds = {
      is,
      changed,
      unchanged: (a: Uint32Array, b: Uint32Array) => !changed(a, b),
      'changed and is': (a: Uint32Array, b: Uint32Array) => changed(a, b) && is(a),
    }[kind];
    return { reads: [word], comparesBefore: kind !== 'is', holds };
  });

test('a predicate becomes true exactly where looking at every position says so', () => {
  const recording = open();
  const range = fc
    .tuple(fc.nat(steps), fc.nat(steps))
    .map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) }));
  fc.assert(
    fc.property(predicate, range, (asked, { from, to }) => {
      const expected = slowly(asked, from, to);
      expect(recording.find(asked, { from, to })).toEqual(expected);
      expect(recording.find(asked, { from, to, limit: 2 })).toEqual(expected.slice(0, 2));
    }),
    { numRuns: 60 },
  );
});

test('the first step that made a predicate bad is found with the last good position', () => {
  const recording = open();
  fc.assert(
    fc.property(predicate, fc.nat(steps), (asked, from) => {
      const [firstBad] = slowly(asked, from === 0 ? 0 : from + 1, steps);
      const result = recording.bisectPredicate(asked, { from });
      expect(result.broken).toEqual(
        firstBad === undefined ? undefined : { lastGood: firstBad - 1, firstBad, message: '' },
      );
      expect(result.evaluations).toBeGreaterThan(0);
    }),
    { numRuns: 60 },
  );
});

test('an overview counts each step once, for its actor and level', () => {
  const recording = open();
  const at = recording.reader.actorWords;
  for (const [from, to, buckets] of [
    [0, steps, 7],
    [4000, 4200, 200],
    [100, 101, 5],
  ] as const) {
    const expected = new Uint32Array(3 * 3 * buckets);
    for (let step = from; step < to; step++) {
      const actor = history.actors[step]!;
      const level = history.states[step]![at.level[actor]!]!;
      const bucket = Math.floor(((step - from) * buckets) / (to - from));
      expected[(actor * 3 + level) * buckets + bucket]!++;
    }
    expect(recording.overview(from, to, buckets)).toEqual({ from, to, buckets, counts: expected });
  }
  expect(recording.reader.windowsOpened).toBe(0);
  expect(() => recording.overview(0, 1, 0)).toThrow(/0 parts/);
});

test('the choices are the schedule of the run', () => {
  const recording = recorded(5000);
  const expanded = recording
    .choices()
    .flatMap(({ actor, count }) => Array.from({ length: count }, () => Number(actor.slice(5))));
  expect(expanded).toEqual(history.actors.slice(0, 5000));
  expect(recording.choices(10).reduce((sum, c) => sum + c.count, 0)).toBe(10);
});
