// Random schedules of one scenario under all checks, and what is to be told of them.

import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { runUnder } from '../../main/search/schedule_of_seed.ts';

/** Schedules that each scenario is run under. */
export const seeds = 200;

/** The first runs that broke a check, or did not come to rest, each with how to repeat it. */
export const complaints = (scenario: CompiledScenario, name: string, count = seeds): string[] => {
  const told: string[] = [];
  for (let seed = 0; seed < count && told.length < 3; seed++) {
    const { findings, halt, message } = runUnder(scenario, { kind: 'random', seed });
    for (const { check, position, message } of findings.slice(0, 2)) {
      told.push(`${name} --seed ${seed}: ${check} at position ${position}: ${message}`);
    }
    if (halt !== 'quiet') told.push(`${name} --seed ${seed}: ${halt}: ${message}`);
  }
  return told;
};
