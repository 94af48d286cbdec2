// Draws the timeline on a canvas.

import type { Overview } from '../../preload/api.ts';
import { type ThemeName, token } from '../theme/theme.ts';
import { levelNames, onWho, whoColour } from '../theme/who.ts';
import { axisHeight, type Geometry, gutter, laneTop, tickSpan, xOf } from './geometry.ts';
import type { StepBrief, StepRun } from './runs.ts';

export interface Picture {
  readonly geometry: Geometry;
  readonly theme: ThemeName;
  readonly actors: readonly string[];
  /** zoomed in: the runs of steps; else the overview */
  readonly runs: readonly StepRun[] | undefined;
  readonly overview: Overview | undefined;
  readonly brief: (step: number) => StepBrief | undefined;
  readonly labelOf: (site: number) => string;
  readonly findings: readonly number[];
  readonly position: number;
  readonly marks: readonly { readonly name: string; readonly position: number }[];
}

type Context = CanvasRenderingContext2D;

const small = '11px "Inter Variable", sans-serif';
const mono = '11px "JetBrains Mono", monospace';
/** a run this wide shows its function, a step this wide its label */
const nameWidth = 44;
const labelWidth = 70;
const textHeight = 11;
/** what is left free above and below the blocks of a lane */
const gapOf = (g: Geometry): number => (g.laneHeight < 22 ? 1 : 3);

const clipText = (c: Context, text: string, x: number, y: number, width: number): void => {
  if (width < 12) return;
  let shown = text;
  if (c.measureText(text).width > width) {
    const each = c.measureText('m').width * 0.92;
    shown = `${text.slice(0, Math.max(1, Math.floor(width / each) - 1))}…`;
  }
  c.fillText(shown, x, y);
};

const paintAxis = (c: Context, p: Picture): void => {
  const { geometry: g } = p;
  const span = tickSpan(g.pixelsPerStep, 84);
  c.font = mono;
  c.textBaseline = 'middle';
  for (let at = Math.ceil(g.range.from / span) * span; at <= g.range.to; at += span) {
    const x = Math.round(xOf(g, at)) + 0.5;
    c.fillStyle = token('--line');
    c.fillRect(x, axisHeight - 5, 1, g.height);
    c.fillStyle = token('--text-faint');
    c.fillText(at.toLocaleString('en').replaceAll(',', '\u2009'), x + 4, axisHeight / 2);
  }
};

const paintLaneNames = (c: Context, p: Picture): void => {
  const { geometry: g } = p;
  c.fillStyle = token('--ground-panel');
  c.fillRect(0, 0, gutter - 1, g.height);
  c.fillStyle = token('--line');
  c.fillRect(gutter - 1, 0, 1, g.height);
  c.textBaseline = 'middle';
  for (const [i, actor] of p.actors.entries()) {
    const top = laneTop(g, i);
    c.fillStyle = whoColour(p.theme, actor, 1);
    c.fillRect(0, top + gapOf(g), 4, g.laneHeight - gapOf(g) * 2);
    c.fillStyle = token('--text');
    c.font = '12px "Inter Variable", sans-serif';
    c.fillText(actor, 12, top + g.laneHeight / 2 + 0.5);
  }
};

/** What the lightness of blocks means, in the corner above the names. */
const paintLegend = (c: Context, p: Picture): void => {
  const actor = p.actors.find((name) => name.startsWith('vcpu')) ?? '';
  const each = Math.floor((gutter - 4) / levelNames.length);
  c.font = small;
  for (const [level, name] of levelNames.entries()) {
    const x = 4 + level * each;
    c.fillStyle = whoColour(p.theme, actor, level);
    c.fillRect(x, axisHeight / 2 - 5, 7, 10);
    c.fillStyle = token('--text-dim');
    c.fillText(name, x + 9, axisHeight / 2 + 0.5);
  }
};

/** The most steps that one actor took in one bucket. */
const busiest = (o: Overview, actors: number): number => {
  let most = 1;
  for (let actor = 0; actor < actors; actor++) {
    for (let b = 0; b < o.buckets; b++) {
      let sum = 0;
      for (let level = 0; level < 3; level++) {
        sum += o.counts[(actor * 3 + level) * o.buckets + b] ?? 0;
      }
      most = Math.max(most, sum);
    }
  }
  return most;
};

const paintOverview = (c: Context, p: Picture, o: Overview): void => {
  const { geometry: g } = p;
  const each = (o.to - o.from) / o.buckets;
  const most = busiest(o, p.actors.length);
  for (const [actor, name] of p.actors.entries()) {
    const bottom = laneTop(g, actor) + g.laneHeight - gapOf(g);
    const room = g.laneHeight - gapOf(g) * 2;
    for (let level = 0; level < 3; level++) {
      c.fillStyle = whoColour(p.theme, name, level);
      for (let b = 0; b < o.buckets; b++) {
        const count = o.counts[(actor * 3 + level) * o.buckets + b] ?? 0;
        if (count === 0) continue;
        let below = 0;
        for (let l = 0; l < level; l++) below += o.counts[(actor * 3 + l) * o.buckets + b] ?? 0;
        const x = xOf(g, o.from + b * each);
        const width = Math.max(1, xOf(g, o.from + (b + 1) * each) - x);
        if (x > g.width || x + width < gutter) continue;
        const height = Math.max(2, (count / most) * room);
        c.fillRect(x, bottom - (below / most) * room - height, width, height);
      }
    }
  }
};

const paintRuns = (c: Context, p: Picture, runs: readonly StepRun[]): void => {
  const { geometry: g } = p;
  c.textBaseline = 'middle';
  for (const run of runs) {
    const x = xOf(g, run.from);
    const width = (run.to - run.from) * g.pixelsPerStep;
    const top = laneTop(g, run.actor) + gapOf(g);
    const height = g.laneHeight - gapOf(g) * 2;
    c.fillStyle = whoColour(p.theme, p.actors[run.actor] ?? '', run.level);
    c.fillRect(x, top, Math.max(1, width - (g.pixelsPerStep > 5 ? 1 : 0)), height);
    paintRunText(c, p, run, { x, width, top, height });
  }
};

interface Box {
  readonly x: number;
  readonly width: number;
  readonly top: number;
  readonly height: number;
}

const paintRunText = (c: Context, p: Picture, run: StepRun, box: Box): void => {
  const { geometry: g } = p;
  const twoLines = box.height >= 27 && g.pixelsPerStep >= labelWidth;
  const left = Math.max(gutter, box.x);
  c.fillStyle = onWho(run.level);
  c.font = mono;
  if (box.width >= nameWidth && box.height >= textHeight) {
    const y = twoLines ? box.top + 8.5 : box.top + box.height / 2;
    clipText(c, run.function, left + 4, y, box.x + box.width - left - 8);
  }
  if (g.pixelsPerStep > 5) {
    c.fillStyle = token('--ground-panel');
    for (let step = run.from + 1; step < run.to; step++) {
      c.fillRect(
        xOf(g, step) - 1,
        twoLines ? box.top + 16 : box.top + box.height - 3,
        1,
        box.height,
      );
    }
  }
  if (!twoLines) return;
  c.fillStyle = onWho(run.level);
  c.font = small;
  for (let step = run.from; step < run.to; step++) {
    const brief = p.brief(step);
    if (brief === undefined) continue;
    const x = Math.max(gutter, xOf(g, step));
    const end = xOf(g, step + 1);
    clipText(c, p.labelOf(brief.site), x + 4, box.top + 22, end - x - 8);
  }
};

const diamond = (c: Context, x: number, y: number, r: number): void => {
  c.beginPath();
  c.moveTo(x, y - r);
  c.lineTo(x + r, y);
  c.lineTo(x, y + r);
  c.lineTo(x - r, y);
  c.fill();
};

const paintFindings = (c: Context, p: Picture): void => {
  const { geometry: g } = p;
  c.fillStyle = token('--bad-strong');
  let last = -10;
  for (const position of p.findings) {
    const x = xOf(g, position);
    if (x < gutter - 6 || x > g.width + 6 || x - last < 2) continue;
    last = x;
    c.globalAlpha = 0.5;
    c.fillRect(Math.round(x), axisHeight, 1, g.lanes * g.laneHeight);
    c.globalAlpha = 1;
    diamond(c, x, axisHeight - 6, 5);
  }
};

const flag = (c: Context, text: string, x: number, colour: string, ink: string): void => {
  c.font = 'bold 11px "JetBrains Mono", monospace';
  const width = c.measureText(text).width + 8;
  c.fillStyle = colour;
  c.fillRect(x, 0, width, 15);
  c.fillStyle = ink;
  c.textBaseline = 'middle';
  c.fillText(text, x + 4, 8);
};

const paintMarks = (c: Context, p: Picture): void => {
  const { geometry: g } = p;
  for (const mark of p.marks) {
    const x = Math.round(xOf(g, mark.position));
    if (x < gutter) continue;
    c.fillStyle = token('--text-dim');
    for (let y = 0; y < g.height; y += 6) c.fillRect(x, y, 1, 3);
    // On the left of its line, so that the playhead beside it does not cover it.
    flag(c, mark.name, x - 15, token('--ground-raised'), token('--text'));
  }
};

const paintPlayhead = (c: Context, p: Picture): void => {
  const { geometry: g } = p;
  const x = Math.round(xOf(g, p.position));
  if (x < gutter - 1 || x > g.width + 1) return;
  const accent = token('--accent');
  const brief = p.position > 0 ? p.brief(p.position - 1) : undefined;
  if (brief !== undefined && g.pixelsPerStep > 3) {
    c.strokeStyle = accent;
    c.lineWidth = 2;
    const left = Math.max(gutter, xOf(g, p.position - 1));
    const top = laneTop(g, brief.actor) + gapOf(g);
    c.strokeRect(left, top, x - left, g.laneHeight - gapOf(g) * 2);
  }
  c.fillStyle = accent;
  c.fillRect(x - 1, 0, 2, g.height);
  const text = String(p.position);
  c.font = 'bold 11px "JetBrains Mono", monospace';
  const width = c.measureText(text).width + 8;
  const left = x + width > g.width ? x - width : x;
  flag(c, text, left, token('--accent-ground'), token('--on-accent'));
};

/** Draws the whole picture; the context is scaled to CSS pixels. */
export const paint = (c: Context, p: Picture): void => {
  const { geometry: g } = p;
  c.fillStyle = token('--ground-panel');
  c.fillRect(0, 0, g.width, g.height);
  paintAxis(c, p);
  for (let lane = 0; lane < g.lanes; lane++) {
    c.fillStyle = token('--line');
    c.fillRect(0, laneTop(g, lane) + g.laneHeight - 1, g.width, 1);
  }
  c.save();
  c.beginPath();
  c.rect(gutter, axisHeight, g.width - gutter, g.height);
  c.clip();
  if (p.runs !== undefined) paintRuns(c, p, p.runs);
  else if (p.overview !== undefined) paintOverview(c, p, p.overview);
  c.restore();
  paintFindings(c, p);
  paintMarks(c, p);
  paintPlayhead(c, p);
  paintLaneNames(c, p);
  paintLegend(c, p);
};
