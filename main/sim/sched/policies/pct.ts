/**
 * Probabilistic concurrency testing (Burckhardt and others, ASPLOS 2010): each actor has a random
 * priority, the highest that is ready goes, and at `depth − 1` random steps whoever would go falls
 * below all others. A race that needs `depth` orderings is found with a known probability.
 */
import type { Policy, Ready } from '../policy.ts';
import { randomSource } from './random.ts';

/**
 * The method wants to know how long a run is, which nobody does: the priorities fall within this
 * many steps, times a power of two that the seed chooses.
 */
const shortestSpan = 64;
const doublings = 6;

/** Who waits in a loop for others would hold them up for ever: after so many steps it falls. */
const longestTurn = 400;

const shuffled = (count: number, next: (below: number) => number): number[] => {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const other = next(i + 1);
    [order[i], order[other]] = [order[other]!, order[i]!];
  }
  return order;
};

const highest = ({ actors, count }: Ready, priorities: readonly number[]): number => {
  let best = actors[0]!;
  for (let i = 1; i < count; i++) {
    if (priorities[actors[i]!]! > priorities[best]!) best = actors[i]!;
  }
  return best;
};

export const pct = (seed: number, depth: number): Policy => {
  const next = randomSource(seed);
  const span = shortestSpan * 2 ** next(doublings);
  const falls = Array.from({ length: depth - 1 }, () => next(span)).sort((a, b) => a - b);
  let priorities: number[] | undefined;
  /** below every priority that was given so far */
  let lowest = -1;
  let step = 0;
  let fallen = 0;
  let last = -1;
  let turn = 0;
  return {
    ended: undefined,
    choose: ({ threads }, ready) => {
      priorities ??= shuffled(threads.length, next);
      let actor = highest(ready, priorities);
      turn = actor === last ? turn + 1 : 0;
      const isDue = fallen < falls.length && falls[fallen]! <= step;
      if (isDue) fallen++;
      if (isDue || turn === longestTurn) {
        priorities[actor] = lowest--;
        actor = highest(ready, priorities);
        turn = 0;
      }
      last = actor;
      step++;
      return actor;
    },
  };
};
