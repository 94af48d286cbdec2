// What decoded windows say about steps: who took them, at which site and level, what they wrote.

import { entryAt, type Window as Steps } from '../../main/sim/arena/window.ts';
import { type ActorWords, levelsOf, sitesOf } from '../../main/sim/arena/window_sites.ts';

/** Site and level of each step of a window. */
export interface StepSites {
  readonly sites: Uint32Array;
  readonly levels: Uint8Array;
}

const known = new WeakMap<Steps, StepSites>();

/** Site and level of every step of the window, found once. */
export const stepSites = (window: Steps, actors: ActorWords): StepSites => {
  const made = known.get(window);
  if (made !== undefined) return made;
  const found = { sites: sitesOf(window, actors), levels: levelsOf(window, actors) };
  known.set(window, found);
  return found;
};

/** The writes of a step: word, old, new, word, old, new … */
export const writesOf = (window: Steps, step: number): Uint32Array =>
  window.writes.subarray(entryAt(window, step), entryAt(window, step + 1));

/** The actor of a step of the window. */
export const actorOf = (window: Steps, step: number): number =>
  window.actors[step - window.first] ?? -1;
