// Random schedules of guests that are hypervisors: no fault of the model, and no check breaks that
// the kernel's own protections keep.

import { expect, test, vi } from 'vitest';
import { compileText, libraryIds, scenarioText, testScenarioIds } from '../sim/scenario_run.ts';
import { complaints } from './complaints.ts';
import { protectionsOf } from './protections.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

/** `nested-trips-*` count what round trips cost: many of the same, by one vCPU. */
const ids = [...libraryIds, ...testScenarioIds].filter(
  (id) => id.startsWith('nested-') && !id.startsWith('nested-trips-'),
);

const seedsOfNested = 4;

test.each(['k6.13', 'k6.19', 'k7.0', 'gpc-v1', 'gpc-v4'])(
  `%s with its protections runs each hypervisor in ${seedsOfNested} random orders, and is clean`,
  (profile) => {
    for (const id of ids) {
      const text = scenarioText(id).replaceAll(/^(set|profile) .*$/gm, '');
      const scenario = compileText(text, { profile, switches: protectionsOf(profile) });
      expect(complaints(scenario, `${id} under ${profile}`, seedsOfNested)).toEqual([]);
    }
  },
);

test('two hypervisors that interrupt each other and both L2s stay clean', () => {
  const scenario = compileText(scenarioText('busy-nested'));
  expect(complaints(scenario, 'busy-nested', 5)).toEqual([]);
});
