// The command `conformance` as a script would call it.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Result } from '../../main/conformance/run.ts';
import { answer, apicscope } from '../cli/apicscope.ts';
import { caseFolder, writeSuite } from './files.ts';

const folder = caseFolder();

const merge = (id: string, max_irr: number) => ({
  id,
  given: { pir: [64], irr: [32] },
  op: { op: 'merge-pir-into-irr' },
  expect: { irr: [32, 64], pir: [], max_irr, irr_updated: true },
});

const good = join(folder, 'good');
const mixed = join(folder, 'mixed');
for (const path of [good, mixed]) mkdirSync(path);
const merges = { suite: 'kvm.apicv.pir_merge', model: 'kvm-lapic' };
writeSuite(good, 'merges', { ...merges, cases: [merge('m-1', 64)] });
const both = [merge('m-1', 64), merge('m-2', 32)];
writeSuite(mixed, 'merges', { ...merges, cases: both, case_count: 2 });

test('cases that pass are status 0, and one document', async () => {
  expect(await answer<Result>('conformance', good)).toEqual({
    status: 0,
    json: {
      suites: [
        { suite: merges.suite, profile: 'k7.0', passed: 1, failed: 0, skipped: 0, failures: [] },
      ],
      passed: 1,
      failed: 0,
      skipped: 0,
    },
  });
});

test('a case that fails is status 1, and is told with what came instead', async () => {
  const { status, json } = await answer<Result>('conformance', mixed);
  expect(status).toBe(1);
  expect(json).toMatchObject({ passed: 1, failed: 1, skipped: 0 });
  const failure = { case: 'm-2', expected: { max_irr: 32 }, got: { max_irr: 64 } };
  expect(json.suites[0]!.failures).toEqual([failure]);
  const { out } = await apicscope(['conformance', mixed]);
  expect(out).toContain('m-2:\n  max_irr: expected 32, got 64');
  expect(out).toContain('1 case passed, 1 failed, 0 skipped');
});

test('a suite and a case can be chosen, the suite by its file too', async () => {
  const one = await answer<Result>('conformance', mixed, '--suite', 'merges', '--case', 'm-1');
  expect(one).toMatchObject({ status: 0, json: { passed: 1, failed: 0, skipped: 1 } });
});

test('the profile of all cases can be chosen, and is told', async () => {
  const one = await answer<Result>('conformance', good, '--profile', 'k6.6');
  expect(one).toMatchObject({ status: 0, json: { suites: [{ profile: 'k6.6', passed: 1 }] } });
});

test.each<{ args: string[]; says: RegExp }>([
  { args: [], says: /missing required argument 'paths'/ },
  { args: [join(folder, 'nowhere')], says: /no file or folder/ },
  { args: [good, '--suite', 'merge'], says: /no suite "merge".*did you mean merges/ },
  { args: [good, '--case', 'm-9'], says: /no case "m-9"/ },
  { args: [good, '--profile', 'k6.12'], says: /no profile "k6.12".*did you mean/ },
])('wrong arguments are status 2, and one sentence: $args', async ({ args, says }) => {
  const { status, out, err } = await apicscope(['conformance', ...args]);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(says);
  expect(err.trimEnd()).not.toContain('\n');
});
