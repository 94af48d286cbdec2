// Moving by what happened: by actor, by function, by finding.

import { defineStore } from 'pinia';
import { computed } from 'vue';
import { siteAt } from '../../main/sim/arena/window_sites.ts';
import { usePosition } from './position.ts';
import { useRecordings } from './recordings.ts';
import { track } from './requests.ts';
import { type Direction, nearestOf, throughFunction } from './seek.ts';
import { actorOf } from './steps.ts';

export const useNavigation = defineStore('navigation', () => {
  const recordings = useRecordings();
  const at = usePosition();
  let newest = 0;

  /** Runs a search, and goes where it leads unless another was begun meanwhile. */
  const search = async (find: (wanted: () => boolean) => Promise<number>): Promise<void> => {
    const mine = ++newest;
    const wanted = (): boolean => mine === newest;
    const found = await track(find(wanted));
    if (wanted() && found >= 0) at.jumpTo(found);
  };

  const byStep = (by: number): void => at.moveTo(at.position + by);

  /** The actor whose next step is the next one of the recording, or the last one at the end. */
  const actorAhead = async (): Promise<number> => {
    const of = recordings.shown;
    if (of === undefined || at.steps === 0) return -1;
    const step = Math.min(at.position, at.steps - 1);
    const window = await of.windows.load(step);
    return actorOf(window, step);
  };

  const byActor = (direction: Direction, actor = at.state?.actor ?? -1): Promise<void> =>
    search(async (wanted) => {
      const of = recordings.shown;
      if (of === undefined) return -1;
      const who = actor >= 0 ? actor : await actorAhead();
      const from = direction === 1 ? at.position : at.position - 2;
      const step = await nearestOf(of.windows, who, from, direction, wanted);
      return step < 0 ? -1 : step + 1;
    });

  const byFunction = (how: 'over' | 'out', direction: Direction): Promise<void> =>
    search(async (wanted) => {
      const of = recordings.shown;
      const actor = await actorAhead();
      const depthWord = of?.actors.depth[actor];
      if (of === undefined || depthWord === undefined) return -1;
      const { position } = at;
      return throughFunction(of.windows, { actor, depthWord, position, direction, how }, wanted);
    });

  const byFinding = (direction: Direction): void => {
    const { position } = at;
    const found =
      direction === 1
        ? recordings.findings.find((one) => one.position > position)
        : recordings.findings.findLast((one) => one.position < position);
    if (found !== undefined) at.jumpTo(found.position);
  };

  /** The site of the step that led here. */
  const site = computed(() => {
    const { state } = at;
    if (state === undefined || state.actor < 0) return undefined;
    return state.of.sites.get(siteAt(state.before, state.of.actors, state.actor));
  });

  return { byStep, byActor, byFunction, byFinding, site };
});
