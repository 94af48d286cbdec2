/** The `schedule` block: directives, or the exact choices of a run. */
import type { Directive, Goal } from '../../sched/policies/directed.ts';
import {
  type PolicySpec,
  parseSchedule,
  type Schedule,
  seededKinds,
  seededPolicy,
  seedMax,
} from '../../sched/schedule.ts';
import { limits } from '../../state/limits.ts';
import { choice, instead } from '../diagnostics.ts';
import { placeIn } from '../parse/strings.ts';
import type { Line, Policy, Text } from '../parse/tree.ts';
import { isStoreBufferOf } from './actors.ts';
import { isKnown, numberIn, type Report } from './context.ts';

export const policyNames: readonly PolicySpec['kind'][] = ['round-robin', ...seededKinds];

export interface ScheduleContext {
  readonly actors: readonly string[];
  readonly functions: readonly string[];
  readonly report: Report;
}

const goalOf = (line: Line, { functions, report }: ScheduleContext): Goal | undefined => {
  const { goal, argument, label } = line;
  if (goal === 'on' || argument === undefined) return { kind: 'on' };
  if (goal === 'steps') {
    const count = numberIn(
      argument,
      { min: 1, max: limits.steps, what: 'a number of steps' },
      report,
    );
    return count === undefined ? undefined : { kind: 'steps', count };
  }
  if (!isKnown(argument, 'function', functions, report)) return undefined;
  return { kind: goal, function: argument.text, label: label?.text };
};

export const directivesOf = (lines: readonly Line[], context: ScheduleContext): Directive[] =>
  lines.flatMap((line) => {
    const {
      actor: { text },
    } = line;
    const actor = context.actors.indexOf(text);
    // With the barrier on nothing waits in a store buffer: the line has nothing to do.
    if (actor < 0 && isStoreBufferOf(text, context.actors)) return [];
    if (actor < 0) {
      context.report(
        line.actor,
        `there is no actor "${text}" in this scenario; ${instead(text, context.actors)}`,
      );
    }
    const goal = goalOf(line, context);
    return actor < 0 || goal === undefined ? [] : [{ actor, goal }];
  });

export const policyOf = (
  { name: policy, seed }: Policy,
  report: Report,
): PolicySpec | undefined => {
  if (policy.text === 'round-robin') {
    if (seed !== undefined) report(seed, '"round-robin" takes no number; remove it');
    return { kind: 'round-robin' };
  }
  const kind = seededKinds.find((one) => one === policy.text);
  if (kind === undefined) {
    report(policy, `there is no policy "${policy.text}"; ${instead(policy.text, policyNames)}`);
    return undefined;
  }
  if (seed === undefined) {
    report(policy, `"${kind}" lacks its seed; write ${kind} 1`);
    return undefined;
  }
  const value = numberIn(seed, { min: 0, max: seedMax, what: 'a seed' }, report);
  return value === undefined ? undefined : seededPolicy(kind, value);
};

export const exactScheduleOf = (
  text: Text,
  { actors, report }: ScheduleContext,
): Schedule | undefined => {
  const parsed = parseSchedule(text.text, actors);
  if ('schedule' in parsed) {
    if (parsed.schedule.items.length > 0 || parsed.schedule.policy !== undefined) {
      return parsed.schedule;
    }
    report(text, `the schedule is empty; write ${choice(['ACTOR', 'ACTOR*COUNT'])}`);
    return undefined;
  }
  const { message, index, length } = parsed.fault;
  report(placeIn(text, index, length), message);
  return undefined;
};
