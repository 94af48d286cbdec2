// A search: scenarios under many seeds each, spread over threads. What it comes to does not depend
// on how many there are.

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type PolicySpec, type SeededKind, seededPolicy } from '#sim/sched/schedule.ts';
import type { ScenarioText } from '../bundled.ts';
import type { Protections } from '../compiled.ts';
import { added, emptyTally, type Seeds, type Tally } from './tally.ts';

export interface Search {
  readonly source: ScenarioText;
  readonly protections: Protections;
  /** the seeds take these in turn */
  readonly kinds: readonly SeededKind[];
  /** of `pct` */
  readonly depth?: number | undefined;
  readonly seeds: Seeds;
  readonly stepsMax?: number | undefined;
  /** ends with the first schedule that breaks one of these invariants */
  readonly until?: readonly string[] | undefined;
}

export interface SearchOptions {
  readonly threads: number;
  /** aborted: what was found so far is the result */
  readonly signal: AbortSignal;
  /** now and then: which search is under way, and how many of its seeds were run */
  readonly report: (search: number, seeds: number) => void;
}

/** What chooses under a seed of the search. */
export const policyOfSeed = ({ kinds, depth }: Search, seed: number): PolicySpec =>
  seededPolicy(kinds[seed % kinds.length]!, seed, depth);

/** Seeds that a thread runs at once: some tens of milliseconds, and the same for any threads. */
const seedsAtOnce = 25;

/** How far one search is. */
class Progress {
  readonly search: Search;
  /** a slice of it has found what was looked for: those behind it need not be run */
  isOver = false;
  #sum = emptyTally;
  #added = 0;
  /** tallies of slices that others before them are still missing from */
  readonly #early = new Map<number, Tally>();

  constructor(search: Search) {
    this.search = search;
  }

  get slices(): number {
    return Math.ceil(this.search.seeds.count / seedsAtOnce);
  }

  /** The seeds of one slice. */
  seedsOf(slice: number): Seeds {
    const { from, count } = this.search.seeds;
    const done = slice * seedsAtOnce;
    return { from: from + done, count: Math.min(seedsAtOnce, count - done) };
  }

  add(slice: number, tally: Tally): void {
    if (tally.isOver) this.isOver = true;
    this.#early.set(slice, tally);
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      this.#sum = added(this.#sum, next);
      this.#early.delete(this.#added++);
    }
  }

  /** The sum of all slices that were run, in the order of their seeds. */
  result(): Tally {
    const early = [...this.#early].sort(([a], [b]) => a - b);
    return early.reduce((sum, [, tally]) => added(sum, tally), this.#sum);
  }

  #next(): Tally | undefined {
    return this.#early.get(this.#added);
  }
}

/** All slices of all searches, as long as they are wanted. */
function* slicesOf(all: readonly Progress[]): Generator<readonly [Progress, number]> {
  for (const progress of all) {
    for (let slice = 0; slice < progress.slices && !progress.isOver; slice++)
      yield [progress, slice];
  }
}

/** One tally for each search. */
export async function searchAll(
  searches: readonly Search[],
  { threads, signal, report }: SearchOptions,
): Promise<Tally[]> {
  const all = searches.map((search) => new Progress(search));
  const slices = slicesOf(all);
  const work = async (): Promise<void> => {
    const thread = new SearchThread(signal);
    try {
      for (const [progress, slice] of slices) {
        const tally = await thread.run(progress.search, progress.seedsOf(slice));
        if (tally === undefined) break;
        progress.add(slice, tally);
        report(all.indexOf(progress), slice * seedsAtOnce);
      }
    } finally {
      // If this thread failed, the others need not go on either.
      slices.return(undefined);
      await thread.end();
    }
  };
  const most = all.reduce((sum, one) => sum + one.slices, 0);
  await Promise.all(Array.from({ length: Math.min(threads, most) }, work));
  return all.map((progress) => progress.result());
}

/** A thread that runs one slice after another. */
class SearchThread {
  readonly #worker = new Worker(new URL('./worker.ts', import.meta.url));
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Undefined if the search was aborted meanwhile. */
  async run(search: Search, seeds: Seeds): Promise<Tally | undefined> {
    const signal = this.#signal;
    if (signal.aborted) return undefined;
    this.#worker.postMessage([search, seeds]);
    try {
      // An error of the thread ends the wait as well.
      const [tally] = (await once(this.#worker, 'message', { signal })) as [Tally];
      return tally;
    } catch (error) {
      if (signal.aborted) return undefined;
      throw error;
    }
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
