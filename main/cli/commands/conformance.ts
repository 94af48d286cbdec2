// `conformance`: runs case files against the model, and tells what differs.

import { nearest } from '#sim/scenario/diagnostics.ts';
import { profileOf, profiles } from '#sim/state/switches.ts';
import { adapters } from '../../conformance/adapters.ts';
import { loadSuites, type Suite } from '../../conformance/load.ts';
import { type Failure, type Options, type Result, runSuites } from '../../conformance/run.ts';
import { InputError, shortened, unknownName } from '../../input_error.ts';
import { type Output, plural, status, table } from '../output.ts';
import type { Run } from '../program.ts';

interface ConformanceOptions {
  readonly suite?: string;
  readonly case?: string;
  readonly profile?: string;
}

export const conformance: Run<[readonly string[], ConformanceOptions]> = (
  { output },
  paths,
  options,
) => {
  const { profile, case: only } = options;
  if (profile !== undefined && profileOf(profile) === undefined) {
    const known = profiles.map((one) => one.id);
    throw unknownName('profile', profile, known);
  }
  const suites = chosenSuites(loadSuites(paths), options);
  const result = runAll(output, suites, {
    ...(profile === undefined ? {} : { profile }),
    ...(only === undefined ? {} : { only }),
  });
  output.answer(result, () => textOf(result));
  return result.failed === 0 ? status.asAsked : status.broken;
};

/** A suite is named by its own name or by that of its file. */
function chosenSuites(all: readonly Suite[], options: ConformanceOptions): readonly Suite[] {
  const { suite: name, case: id } = options;
  const suites = all.filter(
    ({ suite, file }) => name === undefined || suite === name || file === name,
  );
  if (name !== undefined && suites.length === 0) throw unknownSuite(name, all);
  if (id === undefined) return suites;
  const having = suites.filter(({ cases }) => cases.some((one) => one.id === id));
  if (having.length > 0) return having;
  throw new InputError(
    `There is no case "${shortened(id)}" in what was named; look at the ids of its file.`,
  );
}

/** What was named may have many suites: the nearest one is proposed, or some are. */
function unknownSuite(name: string, all: readonly Suite[]): InputError {
  const meant = nearest(
    name,
    all.flatMap(({ suite, file }) => [suite, file]),
  );
  const some = all.slice(0, failuresShown).map(({ suite }) => suite);
  const help = meant === undefined ? `name one like ${some.join(', ')}.` : `did you mean ${meant}?`;
  return new InputError(`There is no suite "${shortened(name)}" in what was named; ${help}`);
}

function runAll(output: Output, suites: readonly Suite[], options: Options): Result {
  const bar = output.progress('conformance');
  const total = suites.reduce((sum, { cases }) => sum + cases.length, 0);
  let done = 0;
  const progress = (suite: string): void => bar.report(++done / total, suite);
  try {
    return runSuites(suites, adapters, { ...options, progress });
  } finally {
    bar.end();
  }
}

/** So many failures are shown; --json has all of them. */
const failuresShown = 10;

function textOf({ suites, passed, failed, skipped }: Result): string {
  const rows = suites.map((one) => [one.suite, one.profile, one.passed, one.failed, one.skipped]);
  const failures = suites.flatMap(({ suite, failures }) =>
    failures.map((failure) => failureText(suite, failure)),
  );
  const hidden = failures.length - failuresShown;
  return [
    table(rows, ['suite', 'profile', 'passed', 'failed', 'skipped']),
    ...failures.slice(0, failuresShown),
    ...(hidden > 0 ? [`… and ${plural(hidden, 'more failure')}; --json has all of them`] : []),
    `${plural(passed, 'case')} passed, ${failed} failed, ${skipped} skipped`,
  ].join('\n');
}

const failureText = (suite: string, failure: Failure): string =>
  [
    `${suite} ${failure.case}:`,
    ...Object.keys(failure.expected).map(
      (path) =>
        `  ${path}: expected ${JSON.stringify(failure.expected[path])}, ` +
        `got ${JSON.stringify(failure.got[path])}`,
    ),
  ].join('\n');
