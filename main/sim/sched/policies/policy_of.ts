/** The policy that a text or a scenario names. */
import type { Policy } from '../policy.ts';
import type { PolicySpec } from '../schedule.ts';
import { pct } from './pct.ts';
import { random } from './random.ts';
import { randomStretches } from './random_stretches.ts';
import { roundRobin } from './round_robin.ts';

export const policyOf = (spec: PolicySpec): Policy => {
  switch (spec.kind) {
    case 'round-robin':
      return roundRobin();
    case 'random':
      return random(spec.seed);
    case 'random-stretches':
      return randomStretches(spec.seed);
    case 'pct':
      return pct(spec.seed, spec.depth);
  }
};
