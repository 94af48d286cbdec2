// Who decides the order of a run: the person who starts it, else the scenario.

import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { directed } from '#sim/sched/policies/directed.ts';
import { policyOf } from '#sim/sched/policies/policy_of.ts';
import { replay } from '#sim/sched/policies/replay.ts';
import type { Policy } from '#sim/sched/policy.ts';
import {
  type PolicySpec,
  parseSchedule,
  policyText,
  type Schedule,
  type SeededKind,
  seededPolicy,
} from '#sim/sched/schedule.ts';
import { ended, InputError, shortened } from './input_error.ts';

export interface ChosenPolicy {
  readonly policy: Policy;
  /** `round-robin`, `random:SEED` or another policy's text, if that decides the whole run */
  readonly name: string | undefined;
  /** numbers from 1 of the lines of the schedule that did not get where they wanted */
  unreached(): readonly number[];
}

export interface ScheduleSettings {
  readonly schedule?: string | undefined;
  readonly seed?: number | undefined;
  /** what the seed is given to; `random` unless given */
  readonly policy?: SeededKind | undefined;
}

/** A seed or a schedule of the person counts before what the scenario says. */
export function choosePolicy(
  scenario: CompiledScenario,
  { schedule, seed, policy: kind = 'random' }: ScheduleSettings,
): ChosenPolicy {
  if (seed !== undefined) return alone(seededPolicy(kind, seed));
  if (schedule !== undefined) return following(parsed(schedule, scenario), scenario);
  if (scenario.schedule !== undefined) return following(scenario.schedule, scenario);
  if (scenario.directives.length === 0) return alone(scenario.policy ?? { kind: 'round-robin' });
  const policy = directed(scenario.directives, scenario.policy);
  return { policy, name: undefined, unreached: () => policy.unreached.map((line) => line + 1) };
}

const alone = (spec: PolicySpec): ChosenPolicy => ({
  policy: policyOf(spec),
  name: policyText(spec),
  unreached: () => [],
});

function following(schedule: Schedule, scenario: CompiledScenario): ChosenPolicy {
  if (schedule.items.length === 0 && schedule.policy !== undefined) return alone(schedule.policy);
  const policy = replay(schedule, scenario.actors);
  return { policy, name: undefined, unreached: () => [] };
}

function parsed(text: string, { actors }: CompiledScenario): Schedule {
  if (text.trim() === '') {
    throw new InputError(
      `The schedule is empty; write ACTOR*COUNT, round-robin, random:SEED, random-stretches:SEED or pct:SEED; the actors are ${actors.join(', ')}.`,
    );
  }
  const result = parseSchedule(text, actors);
  if ('schedule' in result) return result.schedule;
  const { message, index } = result.fault;
  throw new InputError(`The schedule, column ${index + 1}: ${ended(shortened(message))}`, {
    column: index + 1,
  });
}
