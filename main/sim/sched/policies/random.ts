/** A seeded random choice among the ready actors; the same seed gives the same run everywhere. */
import type { Policy } from '../policy.ts';

/** mulberry32 on 32-bit integers: no state but the seed, the same on every engine. */
export const randomSource = (seed: number): ((below: number) => number) => {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    // The high bits, scaled: exact, because 32 bits times a small count stays below 2^53.
    return Math.floor((((t ^ (t >>> 14)) >>> 0) * below) / 0x1_0000_0000);
  };
};

export const random = (seed: number): Policy => {
  const next = randomSource(seed);
  return {
    ended: undefined,
    choose: (_, ready) => ready.actors[next(ready.count)]!,
  };
};
