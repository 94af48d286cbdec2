// Runs of steps that the timeline draws as one block: same actor, level and function.

import type { Window as Steps } from '../../main/sim/arena/window.ts';
import type { Shown } from '../stores/recordings.ts';
import { stepSites } from '../stores/steps.ts';
import type { Range } from './range.ts';

export interface StepRun {
  readonly from: number;
  readonly to: number;
  readonly actor: number;
  readonly level: number;
  readonly function: string;
}

/** What is known of one step, for its label. */
export interface StepBrief {
  readonly step: number;
  readonly actor: number;
  readonly level: number;
  readonly site: number;
}

/** The windows of the range that are here, and the first step of the others. */
export const windowsIn = (
  shown: Shown,
  range: Range,
): { here: Steps[]; missing: number | undefined } => {
  const end = Math.min(Math.ceil(range.to), shown.recording.steps);
  const here = shown.windows.between(Math.max(0, Math.floor(range.from)), end);
  let step = Math.max(0, Math.floor(range.from));
  for (const window of here) {
    if (window.first > step) break;
    step = window.first + window.count;
  }
  return { here, missing: step < end ? step : undefined };
};

export const stepBrief = (shown: Shown, step: number): StepBrief | undefined => {
  const window = shown.windows.kept(step);
  if (window === undefined) return undefined;
  const k = step - window.first;
  const { sites, levels } = stepSites(window, shown.actors);
  return { step, actor: window.actors[k] ?? 0, level: levels[k] ?? 0, site: sites[k] ?? 0 };
};

/** The runs of the windows inside the range. */
export const runsIn = (shown: Shown, windows: readonly Steps[], range: Range): StepRun[] => {
  const runs: StepRun[] = [];
  let open: { -readonly [K in keyof StepRun]: StepRun[K] } | undefined;
  for (const window of windows) {
    const { sites, levels } = stepSites(window, shown.actors);
    const begin = Math.max(window.first, Math.floor(range.from));
    const end = Math.min(window.first + window.count, Math.ceil(range.to));
    for (let step = begin; step < end; step++) {
      const k = step - window.first;
      const actor = window.actors[k]!;
      const level = levels[k]!;
      const name = shown.sites.get(sites[k]!)?.function ?? '';
      if (open?.actor === actor && open.level === level && open.function === name) {
        open.to = step + 1;
      } else {
        open = { from: step, to: step + 1, actor, level, function: name };
        runs.push(open);
      }
    }
  }
  return runs;
};
