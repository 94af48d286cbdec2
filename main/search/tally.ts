// What many schedules of one scenario came to, seed by seed; parts of it add up.

import type { CompiledScenario } from '#sim/scenario/compile.ts';
import type { Halt } from '#sim/sched/run.ts';
import { type PolicySpec, policyText } from '#sim/sched/schedule.ts';
import { type Ended, runUnder } from './schedule_of_seed.ts';

/** In how many schedules something was seen, and the first seed that shows it. */
export interface Seen {
  readonly schedules: number;
  readonly firstSeed: number;
}

export interface Tally {
  readonly schedules: number;
  readonly steps: number;
  /** schedules that broke an invariant; undefined: none did */
  readonly broken: Seen | undefined;
  readonly invariants: Readonly<Record<string, Seen>>;
  /** why the runs ended */
  readonly halts: Readonly<Partial<Record<Halt, Seen>>>;
  /** the seeds behind were not looked at: what was looked for is found */
  readonly isOver: boolean;
}

export const emptyTally: Tally = {
  schedules: 0,
  steps: 0,
  broken: undefined,
  invariants: {},
  halts: {},
  isOver: false,
};

const both = (a: Seen | undefined, b: Seen | undefined): Seen | undefined => {
  if (a === undefined || b === undefined) return a ?? b;
  const firstSeed = Math.min(a.firstSeed, b.firstSeed);
  return { schedules: a.schedules + b.schedules, firstSeed };
};

type Table = Readonly<Record<string, Seen>>;

const merged = (a: Table, b: Table): Table =>
  Object.fromEntries(Object.keys({ ...a, ...b }).map((key) => [key, both(a[key], b[key])!]));

/** Both together; the seeds of `later` are behind those of `earlier`. */
export const added = (earlier: Tally, later: Tally): Tally =>
  earlier.isOver
    ? earlier
    : {
        schedules: earlier.schedules + later.schedules,
        steps: earlier.steps + later.steps,
        broken: both(earlier.broken, later.broken),
        invariants: merged(earlier.invariants, later.invariants),
        halts: merged(earlier.halts, later.halts),
        isOver: later.isOver,
      };

const tallyOf = (seed: number, { findings, halt, steps }: Ended, isOver: boolean): Tally => {
  const one: Seen = { schedules: 1, firstSeed: seed };
  return {
    schedules: 1,
    steps,
    broken: findings.length > 0 ? one : undefined,
    invariants: Object.fromEntries(findings.map(({ check }) => [check, one])),
    halts: { [halt]: one },
    isOver,
  };
};

export interface Seeds {
  readonly from: number;
  readonly count: number;
}

export interface Looking {
  readonly policyOf: (seed: number) => PolicySpec;
  readonly stepsMax?: number | undefined;
  /** ends with the first schedule that breaks one of these invariants */
  readonly until?: readonly string[] | undefined;
}

/** Runs the scenario under each seed. */
export function searched(scenario: CompiledScenario, seeds: Seeds, looking: Looking): Tally {
  const { policyOf, stepsMax, until = [] } = looking;
  let tally = emptyTally;
  for (let seed = seeds.from; seed < seeds.from + seeds.count && !tally.isOver; seed++) {
    const ended = runUnderNamed(scenario, policyOf(seed), stepsMax);
    const isOver = ended.findings.some(({ check }) => until.includes(check));
    tally = added(tally, tallyOf(seed, ended, isOver));
  }
  return tally;
}

/** A fault of the model is told with the schedule that shows it. */
function runUnderNamed(
  scenario: CompiledScenario,
  policy: PolicySpec,
  stepsMax: number | undefined,
): Ended {
  try {
    return runUnder(scenario, policy, stepsMax);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const where = `"${scenario.title}" under --schedule ${policyText(policy)}`;
    throw new Error(`${message} (${where})`, { cause: error });
  }
}
