// What a search tells: for each scenario what broke in how many schedules, and how to see it again.

import { policyText } from '#sim/sched/schedule.ts';
import { compiled } from '../compiled.ts';
import { expectText, violatedBy } from '../expectation_text.ts';
import { policyOfSeed, type Search } from '../search/search.ts';
import type { Seen, Tally } from '../search/tally.ts';
import { type Verdict, verdictOf, verdicts } from '../search/verdict.ts';
import { commandText, grouped, plural, table } from './output.ts';

type SeenAs<K extends string> = Readonly<Record<K, string>> & Seen;

export interface Found {
  readonly id: string;
  readonly race: string | undefined;
  readonly twin: string | undefined;
  readonly expect: string;
  readonly verdict: Verdict;
  readonly schedules: number;
  readonly steps: number;
  /** schedules that broke an invariant */
  readonly broken: number;
  /** the seed that shows the verdict first */
  readonly firstSeed: number | undefined;
  readonly invariants: readonly SeenAs<'invariant'>[];
  readonly halts: readonly SeenAs<'halted'>[];
  /** the command that runs that seed alone */
  readonly repeat: string | undefined;
}

export function foundBy(search: Search, tally: Tally): Found {
  const { source, protections } = search;
  const { race, twin, expectations } = compiled(source, protections);
  const { schedules, steps, broken, invariants, halts } = tally;
  const verdict = verdictOf(expectations, tally);
  const firstSeed = firstSeedOf(verdict, violatedBy(expectations), tally);
  return {
    id: source.name,
    race,
    twin,
    expect: expectText(expectations),
    verdict,
    schedules,
    steps,
    broken: broken?.schedules ?? 0,
    firstSeed,
    invariants: Object.entries(invariants).map(([invariant, seen]) => ({ invariant, ...seen })),
    halts: Object.entries(halts).map(([halted, seen]) => ({ halted, ...seen })),
    repeat: firstSeed === undefined ? undefined : repeatText(search, firstSeed),
  };
}

function firstSeedOf(
  verdict: Verdict,
  wanted: readonly string[],
  { broken, invariants, halts }: Tally,
): number | undefined {
  if (verdict === 'clean') return undefined;
  const ofWanted = wanted.flatMap((id) => invariants[id]?.firstSeed ?? []);
  if (ofWanted.length > 0) return Math.min(...ofWanted);
  if (broken !== undefined || verdict === 'missed') return broken?.firstSeed;
  const restless = Object.entries(halts).filter(([halt]) => halt !== 'quiet');
  return Math.min(...restless.map(([, { firstSeed }]) => firstSeed));
}

function repeatText(search: Search, seed: number): string {
  const { source, protections, stepsMax } = search;
  const { profile, switches = {} } = protections;
  return commandText([
    'run',
    source.isBundled ? source.name : source.path,
    ...(profile === undefined ? [] : ['--profile', profile]),
    ...Object.entries(switches).flatMap(([id, value]) => ['--set', `${id}=${value}`]),
    '--schedule',
    policyText(policyOfSeed(search, seed)),
    ...(stepsMax === undefined ? [] : ['--steps-max', String(stepsMax)]),
  ]);
}

/** Scenarios by verdict. */
export const countsOf = (scenarios: readonly Found[]): Record<Verdict, number> => ({
  clean: scenarios.filter(({ verdict }) => verdict === 'clean').length,
  breaks: scenarios.filter(({ verdict }) => verdict === 'breaks').length,
  found: scenarios.filter(({ verdict }) => verdict === 'found').length,
  missed: scenarios.filter(({ verdict }) => verdict === 'missed').length,
});

export interface SearchAnswer {
  readonly scenarios: readonly Found[];
  readonly counts: Readonly<Record<Verdict, number>>;
  readonly steps: number;
  readonly seconds: number;
  readonly stepsPerSecond: number;
  readonly cancelled: boolean;
}

export function searchText(answer: SearchAnswer): string {
  const { scenarios, counts, steps, seconds, stepsPerSecond, cancelled } = answer;
  const rows = scenarios.map((one) => [
    one.id,
    one.verdict,
    one.schedules,
    one.broken,
    one.firstSeed ?? '',
    one.steps,
  ]);
  const pace = `${grouped(stepsPerSecond)} steps/s`;
  return [
    table(rows, ['scenario', 'verdict', 'schedules', 'broken', 'first seed', 'steps']),
    '',
    ...scenarios.flatMap((one) => detailsOf(one)),
    ...Object.entries(verdicts).map(
      ([verdict, meaning]) => `${verdict} ${counts[verdict as Verdict]}: ${meaning}`,
    ),
    `${grouped(steps)} steps in ${seconds.toFixed(1)} s (${pace})`,
    ...(cancelled ? ['cancelled: not all schedules were run'] : []),
  ].join('\n');
}

/** What broke where, and how to see it. */
const detailsOf = ({ id, invariants, halts, repeat }: Found): string[] => {
  const restless = halts.filter(({ halted }) => halted !== 'quiet');
  if (repeat === undefined && restless.length === 0) return [];
  return [
    id,
    ...[
      ...invariants.map((one) => ({ what: one.invariant, ...one })),
      ...restless.map((one) => ({ what: `ended: ${one.halted}`, ...one })),
    ].map(
      ({ what, schedules, firstSeed }) =>
        `  ${what}: ${plural(schedules, 'schedule')}, first seed ${firstSeed}`,
    ),
    ...(repeat === undefined ? [] : [`  to see it: ${repeat}`]),
    '',
  ];
};
