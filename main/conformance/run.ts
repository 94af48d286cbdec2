// Runs cases: prepares the machine of each, performs its operations, and compares.

import { defaultProfile } from '#sim/state/switches.ts';
import type { Adapter, Json, JsonObject, Plan, Trial } from './adapter.ts';
import { type Difference, differences } from './compare.ts';
import type { Case, Suite } from './load.ts';

/** What a case expected and what came instead, by path. */
export interface Failure {
  readonly case: string;
  readonly expected: JsonObject;
  readonly got: JsonObject;
}

export interface SuiteResult {
  readonly suite: string;
  /** the kernel that was modelled */
  readonly profile: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
}

export interface Result {
  readonly suites: readonly SuiteResult[];
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Options {
  /**
   * the kernel; else the newest that each suite is about and, for cases that say what Linux 6.16
   * did, that one too
   */
  readonly profile?: string;
  /** only this case of each suite; the others count as skipped */
  readonly only?: string;
  /** called after each case */
  readonly progress?: (suite: string) => void;
}

/** The profile of the kernels whose answers a case gives beside those that it expects. */
export const profileOfV616 = 'k6.13';

export function runSuites(
  suites: readonly Suite[],
  adapters: readonly Adapter[],
  options: Options,
): Result {
  const results = suites.map((suite) => runSuite(suite, adapters, options));
  const sum = (of: 'passed' | 'failed' | 'skipped'): number =>
    results.reduce((total, one) => total + one[of], 0);
  return { suites: results, passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
}

function runSuite(suite: Suite, adapters: readonly Adapter[], options: Options): SuiteResult {
  const adapter = adapters.find((one) => one.model === suite.model);
  const profile = options.profile ?? adapter?.profileFor(suite.suite) ?? defaultProfile;
  const chosen = suite.cases.filter((one) => options.only === undefined || one.id === options.only);
  const failures: Failure[] = [];
  for (const one of chosen) {
    const found =
      adapter === undefined
        ? [failed('model', `an adapter for ${suite.model}`, 'there is none')]
        : runChosen(adapter, suite, one, options.profile);
    if (found.length > 0) failures.push(failureOf(one, found));
    options.progress?.(suite.suite);
  }
  return {
    suite: suite.suite,
    profile,
    passed: chosen.length - failures.length,
    failed: failures.length,
    skipped: suite.cases.length - chosen.length,
    failures,
  };
}

const failed = (path: string, expected: string, got: string): Difference => ({
  path,
  expected,
  got,
});

function failureOf(one: Case, found: readonly Difference[]): Failure {
  const by = (of: (d: Difference) => Json): JsonObject =>
    Object.fromEntries(found.map((d) => [d.path, of(d)]));
  return {
    case: one.id,
    expected: by((d) => d.expected),
    got: by((d) => d.got ?? 'no such value'),
  };
}

/** Without a profile that is asked for a case is held to all that it says. */
const runChosen = (
  adapter: Adapter,
  suite: Pick<Suite, 'suite'>,
  one: Case,
  profile: string | undefined,
): Difference[] => {
  if (profile !== undefined) return runCase(adapter, suite, one, profile);
  const found = runCase(adapter, suite, one, adapter.profileFor(suite.suite));
  const old = tellsOfV616(one) ? runCase(adapter, suite, one, profileOfV616) : [];
  return [...found, ...old.map((d) => ({ ...d, path: `v6.16: ${d.path}` }))];
};

const tellsOfV616 = (one: Case): boolean =>
  Object.keys(one.expectV616).length > 0 || one.differsInV616From !== undefined;

/** All that is wrong in one case; an error in the model is a difference like any other. */
export function runCase(
  adapter: Adapter,
  { suite }: Pick<Suite, 'suite'>,
  one: Case,
  profile: string,
): Difference[] {
  const plan: Plan = { suite, id: one.id, given: one.given, profile };
  let trial: Trial;
  try {
    trial = adapter.start(plan);
  } catch (error) {
    return [failed('given', 'can be prepared', sentenceOf(error))];
  }
  return [...(profile === profileOfV616 ? runAsV616(trial, one) : runSteps(trial, one))];
}

/** From the step that the case names on Linux 6.16 went another way: there it has to differ. */
function* runAsV616(trial: Trial, one: Case): Generator<Difference> {
  const { differsInV616From: from, steps } = one;
  const expect = { ...one.expect, ...one.expectV616 };
  if (from === undefined) return yield* runSteps(trial, { ...one, expect });
  const before = [...runSteps(trial, { ...one, steps: steps.slice(0, from), expect: {} })];
  yield* before;
  if (before.length > 0) return;
  const there = [...runSteps(trial, { ...one, steps: steps.slice(from, from + 1), expect: {} })];
  if (there.length > 0) return;
  yield failed(`sequence[${from}]`, 'another answer than later kernels give', 'the same');
}

/** The steps up to the first that fails: what comes after it would only repeat the fault. */
function* runSteps(trial: Trial, { steps, expect, sequence }: Case): Generator<Difference> {
  let answer = {};
  for (const [i, step] of steps.entries()) {
    const place = sequence ? `sequence[${i}]` : 'op';
    try {
      answer = trial.perform(step.op);
    } catch (error) {
      yield failed(place, `${String(step.op['op'])} can be performed`, sentenceOf(error));
      return;
    }
    const found = differences(step.expect, (key, value) => trial.observe(key, value, answer));
    for (const one of found) yield { ...one, path: `${place}.${one.path}` };
    if (found.length > 0) return;
  }
  trial.finish?.();
  yield* differences(expect, (key, value) => trial.observe(key, value, answer));
}

const sentenceOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
