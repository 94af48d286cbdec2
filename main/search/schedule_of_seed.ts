// One schedule of a scenario by its seed, under all checks, to its end: what `run` would do.

import { boot } from '#sim/boot.ts';
import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { policyOf } from '#sim/sched/policies/policy_of.ts';
import type { Halt } from '#sim/sched/run.ts';
import type { PolicySpec } from '#sim/sched/schedule.ts';
import { CheckedRun, type NamedFinding } from '../checked_run.ts';

/** No bundled scenario needs half of these; a run that goes on for longer is told as such. */
export const stepsMaxOfSearch = 20_000;

export interface Ended {
  readonly findings: readonly NamedFinding[];
  readonly halt: Halt;
  readonly message: string;
  readonly steps: number;
}

export function runUnder(
  { config }: CompiledScenario,
  policy: PolicySpec,
  stepsMax = stepsMaxOfSearch,
): Ended {
  const run = new CheckedRun(boot(config), { policy: policyOf(policy), stepsMax });
  run.advance(Number.POSITIVE_INFINITY);
  const { findings, message, steps, halt = 'cancelled' } = run;
  return { findings, halt, message, steps };
}
