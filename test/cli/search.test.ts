// `search`: what it tells, how it ends, and how what it found is seen again.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { answer, apicscope, temporaryFolder } from './apicscope.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

interface SearchAnswer {
  readonly scenarios: readonly {
    readonly id: string;
    readonly verdict: string;
    readonly twin?: string;
    readonly schedules: number;
    readonly broken: number;
    readonly firstSeed?: number;
    readonly invariants: readonly { invariant: string; schedules: number; firstSeed: number }[];
    readonly repeat?: string;
  }[];
  readonly counts: Readonly<Record<string, number>>;
  readonly steps: number;
  readonly cancelled: boolean;
}

const folder = temporaryFolder();

test('it says what broke under how many schedules, and the command that shows it', async () => {
  const args = ['search', 'R12-k7.0-buggy', 'R12-k7.0-fixed', '--seeds', '10..29'];
  const { status, json } = await answer<SearchAnswer>(...args);
  expect(status).toBe(0);
  const [buggy, fixed] = json.scenarios;
  expect(fixed).toMatchObject({ verdict: 'clean', schedules: 20, broken: 0, invariants: [] });
  expect(buggy).toMatchObject({ verdict: 'found', schedules: 20, twin: 'buggy' });
  const seeds = buggy!.invariants.map(({ firstSeed }) => firstSeed);
  expect(Math.min(...seeds)).toBe(buggy!.firstSeed);
  expect(buggy!.firstSeed).toBeGreaterThanOrEqual(10);
  const again = await apicscope(buggy!.repeat!.split(' ').slice(1));
  expect(again.status).toBe(1);
  expect(again.out).toContain('inv-mode-irqs');
});

test('a seed and its policy are a run as well', async () => {
  const args = ['run', 'R12-k7.0-buggy', '--policy', 'random-stretches', '--seed', '3'];
  const { json } = await answer<{ schedule: string }>(...args);
  expect(json.schedule).toBe('random-stretches:3');
  const { status, err } = await apicscope(args.slice(0, 4));
  expect({ status, err }).toEqual({ status: 2, err: expect.stringMatching(/needs a seed/) });
});

test('a scenario that breaks although it should not is not as asked', async () => {
  const args = ['search', 'R12-k7.0-fixed', '--set', 'irq-off-before-mode=off', '--count', '9'];
  const { status, json } = await answer<SearchAnswer>(...args);
  expect(status).toBe(1);
  expect(json).toMatchObject({ counts: { breaks: 1 }, scenarios: [{ verdict: 'breaks' }] });
  expect(json.scenarios[0]?.repeat).toContain('--set irq-off-before-mode=off --schedule');
});

test('a race that was not found is not as asked either', async () => {
  const args = ['search', 'R79-gpc-v1-buggy', '--count', '1', '--policy', 'random'];
  const { status, json } = await answer<SearchAnswer>(...args);
  expect({ status, counts: json.counts }).toMatchObject({ status: 1, counts: { missed: 1 } });
});

test('all twins: the fixed ones are clean, and many of the others are found at once', async () => {
  const args = ['search', '--all-twins', '--count', '3', '--buggy-count', '9'];
  const { json } = await answer<SearchAnswer>(...args);
  expect(json.counts['breaks']).toBe(0);
  expect(json.counts['clean']).toBeGreaterThan(30);
  expect(json.counts['found']).toBeGreaterThan(5);
  const of = (twin: string) => json.scenarios.filter((one) => one.twin === twin);
  expect(of('fixed').every(({ schedules }) => schedules === 3)).toBe(true);
  for (const { verdict, schedules, firstSeed } of of('buggy')) {
    expect(schedules).toBe(verdict === 'found' ? firstSeed! + 1 : 9);
  }
});

test.each([
  { says: /Name the scenarios/, args: [] },
  { says: /Name the scenarios/, args: ['--all-twins', 'R12-k7.0-fixed'] },
  { says: /FIRST\.\.LAST/, args: ['R12-k7.0-fixed', '--seeds', '9..3'] },
  { says: /cannot be used with/, args: ['R12-k7.0-fixed', '--seeds', '1..3', '--count', '5'] },
  { says: /goes with --all-twins/, args: ['R12-k7.0-fixed', '--buggy-count', '5'] },
  { says: /Allowed choices are mixed/, args: ['R12-k7.0-fixed', '--policy', 'fair'] },
  { says: /did you mean R12-k7.0-fixed\?/, args: ['R12-k7.0-fixd'] },
])('wrong usage is told: $args', async ({ says, args }) => {
  const { status, out, err } = await apicscope(['search', ...args]);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(says);
});

test('an interrupt ends the search, which tells what it found until then', async () => {
  const mine = join(folder, 'mine.scn');
  writeFileSync(mine, 'scenario "mine"\nvcpu0 { repeat 200 { pause } }\n');
  const args = ['search', mine, '--count', '4000000000', '--json'];
  const { status, out } = await apicscope(args, (child) => {
    setTimeout(() => child.kill('SIGINT'), 3000);
  });
  expect(status).toBe(1);
  const { cancelled, scenarios } = JSON.parse(out) as SearchAnswer;
  expect(cancelled).toBe(true);
  expect(scenarios[0]?.schedules).toBeLessThan(4_000_000_000);
});
