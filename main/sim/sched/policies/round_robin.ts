/** Each ready actor in turn, one step each. */
import type { Policy } from '../policy.ts';

export const roundRobin = (): Policy => {
  let last = -1;
  return {
    ended: undefined,
    choose(_, ready) {
      for (let i = 0; i < ready.count; i++) {
        if (ready.actors[i]! <= last) continue;
        last = ready.actors[i]!;
        return last;
      }
      last = ready.actors[0]!;
      return last;
    },
  };
};
