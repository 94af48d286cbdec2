/** The policy that a text or a scenario names. */
import type { Policy } from '../policy.ts';
import type { PolicySpec } from '../schedule.ts';
import { random } from './random.ts';
import { roundRobin } from './round_robin.ts';

export const policyOf = (spec: PolicySpec): Policy =>
  spec.kind === 'random' ? random(spec.seed) : roundRobin();
