// Steps as the command line tells them.

import type { Place, StepDetails } from '#db/queries/step.ts';
import type { Recording } from '#db/recording.ts';

/** The step that led to a position; position 0 has none. */
export const stepBefore = (recording: Recording, position: number): StepDetails | undefined =>
  position === 0 ? undefined : recording.stepAt(position - 1);

export const stepAnswer = ({ step, actor, level, function: name, label, stack }: StepDetails) => ({
  step,
  actor,
  level,
  function: name,
  label,
  stack,
});

export const stepText = ({ step, actor, function: name, label, stack }: StepDetails): string =>
  [`step ${step}: ${actor} · ${name} · ${label}`, ...callers(stack)].join('\n');

/** The innermost function is the step's own. */
const callers = (stack: readonly Place[]): string[] =>
  stack
    .slice(0, -1)
    .reverse()
    .map(({ function: name, label }) => `  called by ${name}, at "${label}"`);
