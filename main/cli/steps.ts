// Steps, and what they changed, as the command line tells them.

import type { Change, Place, StepDetails } from '#db/queries/step.ts';
import type { Recording } from '#db/recording.ts';
import { leafAt } from '#sim/arena/leaves.ts';
import type { Cell } from './output.ts';

/** The step that led to a position; position 0 has none. */
export const stepBefore = (recording: Recording, position: number): StepDetails | undefined =>
  position === 0 ? undefined : recording.stepAt(position - 1);

export const changeAnswer = ({ path, fromValue, toValue }: Change) => ({
  path,
  from: fromValue,
  to: toValue,
});

export const stepAnswer = (step: StepDetails) => ({
  step: step.step,
  actor: step.actor,
  level: step.level,
  function: step.function,
  label: step.label,
  stack: step.stack,
  writes: step.writes.map(changeAnswer),
});

export const stepText = ({ step, actor, function: name, label, stack }: StepDetails): string =>
  [`step ${step}: ${actor} · ${name} · ${label}`, ...callers(stack)].join('\n');

/** The innermost function is the step's own. */
const callers = (stack: readonly Place[]): string[] =>
  stack
    .slice(0, -1)
    .reverse()
    .map((place) => `  called by ${placeText(place)}`);

/** A function that only calls others has no label of its own. */
const placeText = ({ function: name, label }: Place): string =>
  label === '' ? name : `${name} "${label}"`;

/** The cells of a line: path, and what became of it. */
export const changeCells = (recording: Recording, { path, from, to }: Change): Cell[] => {
  const isSite = leafAt(recording.layout, path)?.format === 'site';
  const text = isSite ? (value: string) => siteText(recording, Number(value)) : String;
  return [path, `${text(from)} → ${text(to)}`];
};

/** A place of a call stack in words. */
export const siteText = (recording: Recording, id: number): string => {
  const site = recording.reader.site(id);
  if (site !== undefined) return placeText(site);
  return id === 0 ? 'none' : `0x${id.toString(16)}`;
};
