// A thread that runs slices of a search: a slice comes in, its tally goes out.

import { parentPort } from 'node:worker_threads';
import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { compiled } from '../compiled.ts';
import { policyOfSeed, type Search } from './search.ts';
import { type Seeds, searched } from './tally.ts';

/** The slices of a search follow each other: its scenario is compiled once. */
let last: { readonly key: string; readonly scenario: CompiledScenario } | undefined;

const scenarioOf = ({ source, protections }: Search): CompiledScenario => {
  const key = JSON.stringify([source, protections]);
  if (last?.key !== key) last = { key, scenario: compiled(source, protections) };
  return last.scenario;
};

parentPort?.on('message', ([search, seeds]: [Search, Seeds]) => {
  const { stepsMax, until } = search;
  const policyOf = (seed: number) => policyOfSeed(search, seed);
  parentPort?.postMessage(searched(scenarioOf(search), seeds, { policyOf, stepsMax, until }));
});
