// Finding steps: the next one of an actor, and stepping over and out of functions.

import { LOG_STRIDE } from '../../main/sim/arena/arena.ts';
import { type Window as StepWindow, stateAt } from '../../main/sim/arena/window.ts';
import { actorOf, writesOf } from './steps.ts';

/** What a search needs of a recording. */
export interface Steps {
  readonly steps: number;
  load(step: number): Promise<StepWindow>;
}

export type Direction = 1 | -1;

/** Whether the search goes on is asked after each window, so that a newer one can end it. */
export type Wanted = () => boolean;

/** The nearest step from `from` on in the direction that `fits`, −1 if there is none. */
const nearest = async (
  steps: Steps,
  from: number,
  direction: Direction,
  wanted: Wanted,
  fits: (window: StepWindow, step: number) => boolean,
): Promise<number> => {
  for (let step = from; step >= 0 && step < steps.steps && wanted(); ) {
    const window = await steps.load(step);
    const last = direction === 1 ? window.first + window.count - 1 : window.first;
    for (; direction === 1 ? step <= last : step >= last; step += direction) {
      if (fits(window, step)) return step;
    }
  }
  return -1;
};

/** The nearest step of an actor. */
export const nearestOf = (
  steps: Steps,
  actor: number,
  from: number,
  direction: Direction,
  wanted: Wanted,
): Promise<number> =>
  nearest(steps, from, direction, wanted, (window, step) => actorOf(window, step) === actor);

/** The nearest step from `from` on that stores to one of the words. */
export const nearestWriter = (
  steps: Steps,
  words: ReadonlySet<number>,
  from: number,
  wanted: Wanted,
): Promise<number> =>
  nearest(steps, from, 1, wanted, (window, step) => {
    const writes = writesOf(window, step);
    for (let i = 0; i < writes.length; i += LOG_STRIDE) if (words.has(writes[i]!)) return true;
    return false;
  });

const depthAt = async (steps: Steps, word: number, position: number): Promise<number> => {
  const window = await steps.load(Math.max(0, position - 1));
  const words = new Uint32Array(window.keyframe.length);
  stateAt(window, position, words);
  return words[word] ?? 0;
};

/** The depth before or after the step, told by its write of the depth, if it wrote it. */
const depthWritten = (window: StepWindow, step: number, word: number, which: 1 | 2) => {
  const writes = writesOf(window, step);
  let depth: number | undefined;
  for (let i = 0; i < writes.length; i += LOG_STRIDE) {
    if (writes[i] !== word) continue;
    depth = writes[i + which];
    if (which === 1) return depth;
  }
  return depth;
};

export interface FunctionSearch {
  readonly actor: number;
  /** the word of its depth */
  readonly depthWord: number;
  readonly position: number;
  readonly direction: Direction;
  /** over: until the same function, or one that called it, goes on; out: until a caller does */
  readonly how: 'over' | 'out';
}

/** The position that stepping over or out leads to, −1 if the run has none. */
export const throughFunction = async (
  steps: Steps,
  search: FunctionSearch,
  wanted: Wanted,
): Promise<number> => {
  const { actor, depthWord, direction, position } = search;
  const depth = await depthAt(steps, depthWord, position);
  const most = search.how === 'over' ? depth : depth - 1;
  let now = depth;
  const fits = (window: StepWindow, step: number): boolean => {
    const which = direction === 1 ? 2 : 1;
    now = depthWritten(window, step, depthWord, which) ?? now;
    return actorOf(window, step) === actor && now <= most;
  };
  const from = direction === 1 ? position : position - 1;
  const step = await nearest(steps, from, direction, wanted, fits);
  if (step < 0) return -1;
  return direction === 1 ? step + 1 : step;
};
