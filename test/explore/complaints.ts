// Random schedules of one scenario under all checks, and what is to be told of them.

import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { runScenario } from '../sim/scenario_run.ts';
import { ManySchedules } from './many_schedules.ts';

/** Schedules that each scenario is run under. */
export const seeds = 200;

/** The first runs that broke a check, or did not come to rest, each with how to repeat it. */
export const complaints = (scenario: CompiledScenario, name: string, count = seeds): string[] => {
  const told: string[] = [];
  const many = new ManySchedules(scenario);
  for (let seed = 0; seed < count && told.length < 3; seed++) {
    const outcome = many.run(seed);
    if (outcome.halt === 'quiet' && outcome.findings.length === 0) continue;
    // Told as the command line will tell it.
    told.push(`${name} --seed ${seed}: ${outcome.halt}: ${outcome.findings.join()}`);
    const { findings, run } = runScenario(scenario, { seed });
    for (const { check, position, message } of findings.slice(0, 2)) {
      told.push(`${name} --seed ${seed}: ${check} at position ${position}: ${message}`);
    }
    if (run.halt !== 'quiet') told.push(`${name} --seed ${seed}: ${run.halt}: ${run.message}`);
  }
  return told;
};
