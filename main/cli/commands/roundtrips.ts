// `roundtrips`: what holding L1's pages costs, before and after the patch series.

import { pageProfiles, type TripCosts, tripCosts, tripScenarios } from '../../roundtrips.ts';
import { status, table } from '../output.ts';
import type { Run } from '../program.ts';

const places = 2;
const shown = (value: number): string => value.toFixed(places);

const rowOf = ({ memory, load, profile, trips, perTrip }: TripCosts): string[] => [
  memory,
  load,
  profile,
  String(trips),
  shown(perTrip.memremap),
  shown(perTrip.memunmap),
  shown(perTrip.kmap),
  shown(perTrip.kunmap),
  shown(perTrip.invalidations),
];

export const roundtrips: Run<[]> = ({ output, library }) => {
  const bar = output.progress('counting');
  const work = tripScenarios.flatMap((scenario) =>
    pageProfiles.map((profile) => ({ scenario, profile })),
  );
  const costs = work.map(({ scenario, profile }, i) => {
    bar.report(i / work.length, `${scenario.id} under ${profile}`);
    return tripCosts(library.named(scenario.id), scenario, profile);
  });
  bar.end();
  output.answer(costs, () =>
    table(costs.map(rowOf), [
      'memory',
      'vmcs12s',
      'profile',
      'trips',
      'memremap',
      'memunmap',
      'kmap',
      'kunmap',
      'invalidations',
    ]),
  );
  return status.asAsked;
};
