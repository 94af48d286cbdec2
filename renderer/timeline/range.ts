// The range of steps that the timeline shows: zooming, panning, keeping the playhead in sight.

import { defineStore } from 'pinia';
import { shallowRef, watch } from 'vue';
import { usePosition } from '../stores/position.ts';
import { useRecordings } from '../stores/recordings.ts';

export interface Range {
  readonly from: number;
  readonly to: number;
}

/** The fewest steps that fill the width. */
const stepsMin = 6;

/** A range of that span inside the recording, starting near `from`. */
export const clamped = (from: number, span: number, steps: number): Range => {
  const width = Math.min(Math.max(span, stepsMin), Math.max(steps, stepsMin));
  const start = Math.min(Math.max(0, from), Math.max(0, steps - width));
  return { from: start, to: start + width };
};

/** The range zoomed by `factor` (below 1 is in) so that `around` stays where it is. */
export const zoomed = (range: Range, factor: number, around: number, steps: number): Range => {
  const span = (range.to - range.from) * factor;
  const part = (around - range.from) / (range.to - range.from || 1);
  return clamped(around - part * span, span, steps);
};

/** The range moved so far that `position` is in it, with a margin. */
export const following = (range: Range, position: number, steps: number): Range => {
  const span = range.to - range.from;
  const margin = Math.min(span * 0.08, 20);
  if (position - 1 < range.from) return clamped(position - 1 - margin, span, steps);
  if (position > range.to) return clamped(position + margin - span, span, steps);
  return range;
};

const focusSpan = 60;

export const useTimeline = defineStore('timeline', () => {
  const recordings = useRecordings();
  const at = usePosition();
  const range = shallowRef<Range>({ from: 0, to: stepsMin });

  const zoom = (factor: number, around = at.position): void => {
    range.value = zoomed(range.value, factor, around, at.steps);
  };

  /** Moves by a part of the width. */
  const pan = (part: number): void => {
    const { from, to } = range.value;
    range.value = clamped(from + part * (to - from), to - from, at.steps);
  };

  const isWhole = (): boolean => range.value.to - range.value.from >= at.steps;

  /** The position first; where it is in focus already, the whole recording. */
  const fit = (): void => {
    const focused = range.value.to - range.value.from <= focusSpan + 1;
    range.value =
      focused && !isWhole()
        ? clamped(0, at.steps, at.steps)
        : clamped(at.position - focusSpan / 2, focusSpan, at.steps);
  };

  watch(
    () => recordings.shown,
    () => {
      range.value = clamped(0, at.steps, at.steps);
    },
    { immediate: true },
  );
  watch(
    () => at.position,
    (position) => {
      range.value = following(range.value, position, at.steps);
    },
  );

  return { range, zoom, pan, fit };
});
