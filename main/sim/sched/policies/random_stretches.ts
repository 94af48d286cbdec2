/**
 * A seeded random choice that lasts: each actor chosen goes on for a stretch of random length. Few
 * switches, as on real CPUs, find races that want one actor to get far while another stands still.
 */
import { isReady, type Policy } from '../policy.ts';
import { randomSource } from './random.ts';

const longestStretch = 40;

export const randomStretches = (seed: number): Policy => {
  const next = randomSource(seed);
  let actor = -1;
  let left = 0;
  return {
    ended: undefined,
    choose: (_, ready) => {
      if (left === 0 || !isReady(ready, actor)) {
        actor = ready.actors[next(ready.count)]!;
        left = 1 + next(longestStretch);
      }
      left--;
      return actor;
    },
  };
};
