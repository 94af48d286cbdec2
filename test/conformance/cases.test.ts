// A selection of the reference's cases: every eighth of each suite that the model plays, and all of
// a suite of at most 24. `cases` has them in the form of the reference.

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test, vi } from 'vitest';
import { adapters } from '../../main/conformance/adapters.ts';
import { loadSuites, type Suite } from '../../main/conformance/load.ts';
import { conformanceProfile, runSuites } from '../../main/conformance/run.ts';

// Work is bounded by the cases; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const folder = fileURLToPath(new URL('cases', import.meta.url));
const suites = loadSuites([folder]);

/** Cases that fail, and why. The list is exact. */
const failing: Readonly<Record<string, string>> = {};

test('the selection is whole', () => {
  expect(suites.length).toBe(readdirSync(folder).length);
  expect([suites.length, suites.reduce((sum, { cases }) => sum + cases.length, 0)]).toEqual([
    46, 1228,
  ]);
});

test.each(suites.map((suite): [string, Suite] => [suite.suite, suite]))('%s', (_, suite) => {
  const [result] = runSuites([suite], adapters, { profile: conformanceProfile }).suites;
  const unexpected = result!.failures.filter((one) => !(one.case in failing));
  expect(unexpected).toEqual([]);
  const listed = suite.cases.filter(({ id }) => id in failing);
  expect([result!.failed, result!.skipped]).toEqual([listed.length, 0]);
  expect(result!.passed).toBe(suite.cases.length - listed.length);
});

// What Linux 6.16 did instead is in the same cases.
test('the kernel of v6.16 gives its own answers', () => {
  const { failed, suites: results } = runSuites(suites, adapters, { profile: 'k6.13' });
  expect([failed, results.flatMap(({ failures }) => failures)]).toEqual([0, []]);
});
