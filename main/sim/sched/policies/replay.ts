/** Follows an explicit schedule, then hands over to the policy that it names, or ends the run. */
import { isReady, type Policy, type PolicyEnd } from '../policy.ts';
import type { Schedule } from '../schedule.ts';
import { policyOf } from './policy_of.ts';

export const replay = (schedule: Schedule, actors: readonly string[]): Policy => {
  const order = schedule.items.map((item) => actors.indexOf(item.actor));
  const rest = schedule.policy === undefined ? undefined : policyOf(schedule.policy);
  let item = 0;
  let taken = 0;
  let ended: { why: PolicyEnd; message: string } | undefined;
  return {
    get ended() {
      return ended;
    },
    choose(machine, ready) {
      if (item === order.length) {
        if (rest !== undefined) return rest.choose(machine, ready);
        ended = { why: 'schedule-end', message: 'the schedule ends here' };
        return -1;
      }
      const actor = order[item]!;
      if (!isReady(ready, actor)) {
        const names = [...ready.actors.subarray(0, ready.count)].map((i) => actors[i]);
        ended = {
          why: 'not-ready',
          message:
            `item ${item + 1} of the schedule wants ${actors[actor]} at position ` +
            `${machine.arena.position}, but it cannot take a step; ready are ${names.join(', ')}`,
        };
        return -1;
      }
      if (++taken === schedule.items[item]!.count) {
        item++;
        taken = 0;
      }
      return actor;
    },
  };
};
