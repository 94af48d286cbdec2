// The overview of the recording around what the timeline shows; the last one stays until replaced.

import { shallowRef } from 'vue';
import type { Overview } from '../../preload/api.ts';
import type { Shown } from '../stores/recordings.ts';
import { api, ask } from '../stores/requests.ts';
import type { Range } from './range.ts';

const bucketsMax = 4096;

/** Twice the range, so that panning has something to show. */
export const widened = (range: Range, steps: number): Range => {
  const span = range.to - range.from;
  return {
    from: Math.max(0, Math.floor(range.from - span / 2)),
    to: Math.min(steps, Math.ceil(range.to + span / 2)),
  };
};

const covers = (known: Overview | undefined, range: Range, perBucket: number): boolean =>
  known !== undefined &&
  known.from <= range.from &&
  known.to >= Math.min(range.to, known.to) &&
  range.to <= known.to + 1 &&
  (known.to - known.from) / known.buckets <= perBucket * 2;

export const useOverview = () => {
  const overview = shallowRef<Overview>();
  let of: Shown | undefined;
  let asking = false;

  /** Asks for what is missing; one request at a time, so that the newest range comes last. */
  const want = async (shown: Shown, range: Range, pixels: number): Promise<void> => {
    if (of !== shown) overview.value = undefined;
    of = shown;
    const perBucket = Math.max(1, (range.to - range.from) / Math.max(1, pixels));
    if (asking || covers(overview.value, range, perBucket)) return;
    asking = true;
    const { from, to } = widened(range, shown.recording.steps);
    const buckets = Math.max(1, Math.min(bucketsMax, Math.ceil((to - from) / perBucket)));
    try {
      const answer = await ask(api().overview(shown.recording.recording, from, to, buckets));
      if (of === shown) overview.value = answer;
    } finally {
      asking = false;
    }
  };

  return { overview, want };
};
