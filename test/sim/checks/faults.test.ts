// Invariants that no race breaks guard the model against itself: a run with a fault in it ends in
// them. All others are broken by a bundled scenario.

import { expect, test } from 'vitest';
import { checks } from '#sim/checks/index.ts';
import type { Machine } from '#sim/steps.ts';
import { compileLibrary, libraryIds, runLibrary } from '../scenario_run.ts';
import { violations } from './states.ts';

const expected = new Set(
  libraryIds
    .flatMap((id) => compileLibrary(id).expectations)
    .flatMap((one) => (one.kind === 'violated' ? [one.check] : [])),
);
const unbroken = checks.filter(({ id }) => !expected.has(id));

test('every invariant that a race breaks is broken by a bundled scenario', () => {
  expect(unbroken.filter(({ races }) => races.length > 0).map(({ id }) => id)).toEqual([]);
});

/** Where a fault shows, if it does not where a vCPU uses its APIC while the page migrates. */
const scenarioFor: Readonly<Record<string, string>> = {
  'inv-rvi-max': 'apic-ipi-apicv',
  'inv-vapic-sync': 'apic-ipi-apicv',
};

/** The fault comes where the guest runs: entry, exit and rest are yet to come. */
const runWithFault = (id: string, fault: (m: Machine) => void): readonly string[] => {
  let isDone = false;
  const stepClosed = (m: Machine): void => {
    if (isDone || m.vcpu[0]?.non_root !== true) return;
    isDone = true;
    fault(m);
  };
  const { findings } = runLibrary(scenarioFor[id] ?? 'R01-k6.6-fixed', {
    watchers: [{ stepClosed }],
  });
  expect(isDone).toBe(true);
  return findings.map(({ check }) => check);
};

test.each(unbroken.map(({ id }) => id))('%s tells of a fault of the model in a run', (id) => {
  expect(runWithFault(id, () => undefined)).not.toContain(id);
  expect(runWithFault(id, violations[id]!)).toContain(id);
});
