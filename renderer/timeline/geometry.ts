// Where things are on the timeline: lanes, the axis, and steps to pixels and back.

import type { Range } from './range.ts';

export const gutter = 92;
export const axisHeight = 22;

export interface Geometry {
  readonly width: number;
  readonly height: number;
  readonly lanes: number;
  readonly laneHeight: number;
  readonly range: Range;
  readonly pixelsPerStep: number;
}

const laneMin = 13;
const laneMax = 40;

/** The least height at which all lanes can be told apart. */
export const heightMin = (lanes: number): number => axisHeight + lanes * laneMin + 4;

export const geometryOf = (
  size: { width: number; height: number },
  lanes: number,
  range: Range,
) => {
  const room = size.height - axisHeight - 4;
  return {
    ...size,
    lanes,
    laneHeight: Math.min(laneMax, Math.max(laneMin, Math.floor(room / Math.max(1, lanes)))),
    range,
    pixelsPerStep: (size.width - gutter) / (range.to - range.from || 1),
  } satisfies Geometry;
};

export const xOf = (g: Geometry, step: number): number =>
  gutter + (step - g.range.from) * g.pixelsPerStep;

export const stepAtX = (g: Geometry, x: number): number =>
  g.range.from + (x - gutter) / g.pixelsPerStep;

export const laneTop = (g: Geometry, lane: number): number => axisHeight + lane * g.laneHeight;

/**
 * The position that a click at `x` means: that after the step under it, so that this step is the
 * current one; left of all steps, position 0.
 */
export const positionAtX = (g: Geometry, x: number): number =>
  x < gutter ? Math.floor(g.range.from) : Math.floor(stepAtX(g, x)) + 1;

/** A round distance between marks of the axis that leaves each about `pixels`. */
export const tickSpan = (pixelsPerStep: number, pixels: number): number => {
  const least = Math.max(1, pixels / pixelsPerStep);
  const power = 10 ** Math.floor(Math.log10(least));
  for (const times of [1, 2, 5, 10]) if (power * times >= least) return power * times;
  return power * 10;
};
