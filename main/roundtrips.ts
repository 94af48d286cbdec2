// What a round trip into L2 costs: the bundled loads under each way of holding L1's pages, with the
// mappings that a trip makes once everything that can be kept is kept.

import { boot } from '#sim/boot.ts';
import { Run } from '#sim/sched/run.ts';
import type { Machine } from '#sim/steps.ts';
import type { ScenarioText } from './bundled.ts';
import { compiled } from './compiled.ts';
import { choosePolicy } from './policy_choice.ts';

/** How L1's pages are held: as before the patch series, and as by its first and fourth version. */
export const pageProfiles = ['k6.13', 'gpc-v1', 'gpc-v4'] as const;

/** The bundled scenarios: L2s that take turns, or one whose pages migrate; kind of memory. */
export const tripScenarios = ['managed', 'unmanaged'].flatMap((memory) =>
  ['one', 'two', 'nine', 'storm'].map((load) => ({
    id: `nested-trips-${load}-${memory}`,
    load,
    memory,
  })),
);

/** Trips in which what can be kept is mapped for the first time; of nine L2s, two rounds. */
const warmUps: Readonly<Record<string, number>> = { one: 1, two: 2, nine: 18, storm: 1 };

const counted = ['memremap', 'memunmap', 'kmap', 'kunmap'] as const;
type Cost = Readonly<Record<(typeof counted)[number] | 'invalidations', number>>;

export interface TripCosts {
  readonly scenario: string;
  readonly load: string;
  readonly memory: string;
  readonly profile: string;
  /** round trips that the averages are of */
  readonly trips: number;
  /** of one of them, on average */
  readonly perTrip: Cost;
}

const costsSoFar = (m: Machine): Cost => {
  const { stat } = m.vcpu[0]!;
  return {
    memremap: stat.hostmap_memremap + stat.gpc_memremap,
    memunmap: stat.hostmap_memunmap + stat.gpc_memunmap,
    kmap: stat.hostmap_kmap + stat.gpc_kmap,
    kunmap: stat.hostmap_kunmap + stat.gpc_kunmap,
    invalidations: m.vm.stat.gpc_invalidations,
  };
};

/** Costs between the end of the warm-up and the last exit of L2, by trip. */
export const tripCosts = (
  source: ScenarioText,
  { id, load, memory }: (typeof tripScenarios)[number],
  profile: string,
): TripCosts => {
  const scenario = compiled(source, { profile });
  const machine = boot(scenario.config);
  const run = new Run(machine, { policy: choosePolicy(scenario, {}).policy });
  const { stat } = machine.vcpu[0]!;
  const warmUp = warmUps[load]!;
  let [first, last] = [costsSoFar(machine), costsSoFar(machine)];
  let seen = 0;
  while (run.advance(1) === 1) {
    if (stat.nested_exits === seen) continue;
    seen = stat.nested_exits;
    last = costsSoFar(machine);
    if (seen === warmUp) first = last;
  }
  const trips = Math.max(1, seen - warmUp);
  const perTrip = Object.fromEntries(
    Object.entries(last).map(([name, value]) => [
      name,
      (value - first[name as keyof Cost]) / trips,
    ]),
  ) as Cost;
  return { scenario: id, load, memory, profile, trips, perTrip };
};
