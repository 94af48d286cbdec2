// Runs cases: prepares the machine of each, performs its operations, and compares.

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
  readonly profile: string;
  /** only this case of each suite; the others count as skipped */
  readonly only?: string;
  /** called after each case */
  readonly progress?: (suite: string) => void;
}

/**
 * The kernel whose answers the cases give: Linux 6.16 with fixes up to those of 6.19, and none of
 * what was redone after it.
 */
export const conformanceProfile = 'k6.19';

/** Profiles of the kernels whose answers a case gives beside those that it expects. */
export const asV616: ReadonlySet<string> = new Set(['k6.13']);

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
  const chosen = suite.cases.filter((one) => options.only === undefined || one.id === options.only);
  const failures: Failure[] = [];
  for (const one of chosen) {
    const found =
      adapter === undefined
        ? [failed('model', `an adapter for ${suite.model}`, 'there is none')]
        : runCase(adapter, suite, one, options.profile);
    if (found.length > 0) failures.push(failureOf(one, found));
    options.progress?.(suite.suite);
  }
  return {
    suite: suite.suite,
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

/** All that is wrong in one case; an error in the model is a difference like any other. */
export function runCase(
  adapter: Adapter,
  { suite }: Pick<Suite, 'suite'>,
  one: Case,
  profile: string,
): Difference[] {
  const plan: Plan = { suite, given: one.given, profile };
  let trial: Trial;
  try {
    trial = adapter.start(plan);
  } catch (error) {
    return [failed('given', 'can be prepared', sentenceOf(error))];
  }
  const old = asV616.has(profile);
  const steps = old ? one.steps.slice(0, one.differsInV616From) : one.steps;
  const expect = old ? { ...one.expect, ...one.expectV616 } : one.expect;
  return [...runSteps(trial, { ...one, steps, expect })];
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
  yield* differences(expect, (key, value) => trial.observe(key, value, answer));
}

const sentenceOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
