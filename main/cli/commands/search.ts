// `search`: runs scenarios under many random schedules, and tells which invariants broke.

import { availableParallelism } from 'node:os';
import { type SeededKind, seededKinds, seedMax } from '#sim/sched/schedule.ts';
import type { ScenarioText } from '../../bundled.ts';
import { compiled, type Protections } from '../../compiled.ts';
import { violatedBy } from '../../expectation_text.ts';
import { InputError } from '../../input_error.ts';
import { type Search, type SearchOptions, searchAll } from '../../search/search.ts';
import type { Seeds, Tally } from '../../search/tally.ts';
import { type Output, status } from '../output.ts';
import type { Context, Run } from '../program.ts';
import { countsOf, foundBy, searchText } from '../search_answer.ts';
import { hearSignals } from '../signals.ts';

interface SearchCommandOptions {
  readonly allTwins?: boolean;
  readonly seeds?: Seeds;
  readonly count?: number;
  readonly buggyCount?: number;
  readonly policy: SeededKind | 'mixed';
  readonly depth?: number;
  readonly profile?: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly stepsMax?: number;
  readonly threads?: number;
}

/** Seeds of each scenario, and of each buggy twin: that one ends where it is found. */
const countDefault = 200;
const buggyCountDefault = 2000;

export const search: Run<[readonly string[], SearchCommandOptions]> = async (
  context,
  names,
  options,
) => {
  const { output } = context;
  const searches = searchesOf(context, names, options);
  const start = performance.now();
  const { tallies, cancelled } = await watched(output, searches, options.threads);
  const seconds = (performance.now() - start) / 1000;
  const scenarios = searches.map((one, i) => foundBy(one, tallies[i]!));
  const steps = scenarios.reduce((sum, one) => sum + one.steps, 0);
  const answer = {
    policy: options.policy,
    scenarios,
    counts: countsOf(scenarios),
    steps,
    seconds,
    stepsPerSecond: Math.round(steps / seconds),
    cancelled,
  };
  output.answer(answer, () => searchText(answer));
  const { breaks, missed } = answer.counts;
  return breaks + missed === 0 && !cancelled ? status.asAsked : status.broken;
};

function searchesOf(
  { library }: Context,
  names: readonly string[],
  options: SearchCommandOptions,
): Search[] {
  const { allTwins = false, buggyCount, count = countDefault } = options;
  const seeds = options.seeds ?? { from: 0, count };
  if (allTwins === names.length > 0) {
    throw new InputError(
      'Name the scenarios to search, or --all-twins for the bundled ones, but not both.',
    );
  }
  if (!allTwins && buggyCount !== undefined) {
    throw new InputError('--buggy-count goes with --all-twins; give --seeds or --count instead.');
  }
  if (!allTwins) return names.map((name) => searchOf(library.named(name), seeds, options));
  return library.all().flatMap((source) => {
    const { twin, expectations } = compiled(source);
    if (twin === undefined) return [];
    if (twin === 'fixed') return [searchOf(source, seeds, options)];
    const ofBuggy = inBounds({ from: seeds.from, count: buggyCount ?? buggyCountDefault });
    return [{ ...searchOf(source, ofBuggy, options), until: violatedBy(expectations) }];
  });
}

const inBounds = ({ from, count }: Seeds): Seeds => ({
  from,
  count: Math.min(count, seedMax - from + 1),
});

const searchOf = (source: ScenarioText, seeds: Seeds, options: SearchCommandOptions): Search => {
  const { policy, depth, stepsMax, profile, set: switches } = options;
  const protections: Protections = { profile, switches };
  const kinds = policy === 'mixed' ? seededKinds : [policy];
  return { source, protections, kinds, depth, seeds: inBounds(seeds), stepsMax };
};

/** Ends early, with what was found until then, when the terminal asks for that. */
async function watched(
  output: Output,
  searches: readonly Search[],
  threads = availableParallelism(),
): Promise<{ tallies: Tally[]; cancelled: boolean }> {
  // What is wrong with a text is told before any thread starts.
  for (const { source, protections } of searches) compiled(source, protections);
  const bar = output.progress('searching');
  const abort = new AbortController();
  const forget = hearSignals(() => abort.abort());
  const report: SearchOptions['report'] = (at, done) => {
    const { source, seeds } = searches[at]!;
    bar.report((at + done / seeds.count) / searches.length, source.name);
  };
  try {
    const tallies = await searchAll(searches, { threads, signal: abort.signal, report });
    return { tallies, cancelled: abort.signal.aborted };
  } finally {
    forget();
    bar.end();
  }
}
