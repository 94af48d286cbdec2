// The text form of a schedule.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  parseSchedule,
  type Schedule,
  scheduleText,
  seededKinds,
  seededPolicy,
  seedMax,
} from '#sim/sched/schedule.ts';

const actors = ['vcpu0', 'vcpu1', 'irq0', 'mm', 'mm1'];

const schedules: fc.Arbitrary<Schedule> = fc.record({
  items: fc.array(
    fc.record({
      actor: fc.constantFrom(...actors),
      count: fc.integer({ min: 1, max: 999_999_999 }),
    }),
  ),
  policy: fc.oneof(
    fc.constant(undefined),
    fc.constant({ kind: 'round-robin' } as const),
    fc
      .tuple(fc.constantFrom(...seededKinds), fc.nat(seedMax), fc.integer({ min: 1, max: 16 }))
      .map(([kind, seed, depth]) => seededPolicy(kind, seed, depth)),
  ),
});

test('the text of a schedule is read back as that schedule', () => {
  fc.assert(
    fc.property(schedules, (schedule) => {
      expect(parseSchedule(scheduleText(schedule), actors)).toEqual({ schedule });
    }),
    { seed: 5 },
  );
});

test('one step needs no count, and white space does not matter', () => {
  expect(parseSchedule(' mm*14\n\tvcpu0  mm1*1 ', actors)).toEqual({
    schedule: {
      items: [
        { actor: 'mm', count: 14 },
        { actor: 'vcpu0', count: 1 },
        { actor: 'mm1', count: 1 },
      ],
      policy: undefined,
    },
  });
  expect(parseSchedule('', actors)).toEqual({ schedule: { items: [], policy: undefined } });
});

test.each<[string, string, RegExp]>([
  ['mm vcpu9*3', 'vcpu9*3', /no actor vcpu9; the actors are vcpu0, vcpu1/],
  ['mm*0', 'mm*0', /neither ACTOR/],
  ['mm*-1', 'mm*-1', /neither ACTOR/],
  ['mm*1e3', 'mm*1e3', /neither ACTOR/],
  ['mm*9999999999', 'mm*9999999999', /neither ACTOR/],
  ['vcpu0 MM', 'MM', /neither ACTOR/],
  ['random:', 'random:', /neither ACTOR/],
  ['random:4294967296', 'random:4294967296', /at most 4294967295/],
  ['pct:1:0', 'pct:1:0', /a depth is from 1 to 16/],
  ['pct:1:17', 'pct:1:17', /a depth is from 1 to 16/],
  ['random-stretches:1:3', 'random-stretches:1:3', /has a seed and nothing behind it/],
  ['round-robin mm', 'mm', /nothing may follow the policy/],
  ['random:1 random:2', 'random:2', /nothing may follow the policy/],
])('%j is refused at %j', (text, at, message) => {
  const parsed = parseSchedule(text, actors);
  if (!('fault' in parsed)) throw new Error('it was accepted');
  const { index, length } = parsed.fault;
  expect(parsed.fault.message).toMatch(message);
  expect(text.slice(index, index + length)).toBe(at);
});

test('the usual depth of pct need not be written', () => {
  const { policy } = { policy: { kind: 'pct', seed: 7, depth: 3 } as const };
  expect(parseSchedule('pct:7', actors)).toEqual({ schedule: { items: [], policy } });
  expect(scheduleText({ items: [], policy })).toBe('pct:7');
});

test('no text makes the reader throw', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
      const parsed = parseSchedule(text, actors);
      expect('fault' in parsed || 'schedule' in parsed).toBe(true);
    }),
    { seed: 6 },
  );
});
