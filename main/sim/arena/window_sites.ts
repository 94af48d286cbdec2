/**
 * Who executed what in a window: site and level of a step, read from the state before it.
 * They are words of the machine, so a window does not store them again.
 */

import { LOG_STRIDE } from './arena.ts';
import type { RecordType } from './fields.ts';
import { leafAt } from './leaves.ts';
import { move, type Window } from './window.ts';

/** Where in the arena the actors' stacks and levels are. */
export interface ActorWords {
  readonly count: number;
  /** for each actor, the word of a field of its record */
  readonly level: Uint32Array;
  readonly depth: Uint32Array;
  /** the site of the outermost stack frame; that of frame d is `frameWords × d` further */
  readonly site: Uint32Array;
  readonly frameWords: number;
  readonly depthMax: number;
}

const arrayCount = (of: RecordType, name: string): number => {
  const field = of.fields.find((f) => f.name === name && f.kind === 'array');
  if (field === undefined)
    throw new Error(`the layout is damaged: there is no array ${name} in ${of.name}`);
  return field.count;
};

const wordOf = (layout: RecordType, path: string): number => {
  const leaf = leafAt(layout, path);
  if (leaf === undefined) throw new Error(`the layout is damaged: there is no field ${path}`);
  return leaf.word;
};

/** Finds the actors' fields by their paths, also in a layout that a recording stored. */
export const actorWordsOf = (layout: RecordType): ActorWords => {
  const count = arrayCount(layout, 'actor');
  const words = (path: string): Uint32Array =>
    Uint32Array.from({ length: count }, (_, i) => wordOf(layout, `actor[${i}].${path}`));
  const actor = layout.fields.find((f) => f.name === 'actor')?.of;
  if (actor === undefined || count === 0)
    throw new Error('the layout is damaged: there are no actors');
  const depthMax = arrayCount(actor, 'stack');
  const site = words('stack[0].site');
  const frameWords = depthMax < 2 ? 0 : wordOf(layout, 'actor[0].stack[1].site') - site[0]!;
  return { count, level: words('level'), depth: words('depth'), site, frameWords, depthMax };
};

/** Sites of the actor's stack at a state, outermost first. */
export const stackAt = (words: Uint32Array, at: ActorWords, actor: number): number[] => {
  const depth = Math.min(words[at.depth[actor]!] ?? 0, at.depthMax);
  return Array.from({ length: depth }, (_, d) => words[at.site[actor]! + d * at.frameWords]!);
};

/** Site of the step that the actor stands before; 0 if it has ended. */
export const siteAt = (words: Uint32Array, at: ActorWords, actor: number): number => {
  const depth = Math.min(words[at.depth[actor]!] ?? 0, at.depthMax);
  return depth === 0 ? 0 : words[at.site[actor]! + (depth - 1) * at.frameWords]!;
};

/** 0, 1 or 2: who executes on the actor at a state. */
export const levelAt = (words: Uint32Array, at: ActorWords, actor: number): number =>
  Math.min(words[at.level[actor]!] ?? 0, 2);

/** The site of step `step` of the window; `sitesOf` is cheaper for many. */
export const siteOfStep = (window: Window, at: ActorWords, step: number): number => {
  const words = window.keyframe.slice();
  move(window, window.first, step, words);
  return siteAt(words, at, window.actors[step - window.first]!);
};

/** The level at which step `step` of the window ran; `levelsOf` is cheaper for many. */
export const levelOfStep = (window: Window, at: ActorWords, step: number): number => {
  const words = window.keyframe.slice();
  move(window, window.first, step, words);
  return levelAt(words, at, window.actors[step - window.first]!);
};

/** Calls `visit` before each step with the state there; the state is the same array each time. */
export const eachStep = (
  window: Window,
  visit: (words: Uint32Array, k: number, actor: number) => void,
): void => {
  const words = window.keyframe.slice();
  const { writes } = window;
  let i = 0;
  for (let k = 0; k < window.count; k++) {
    visit(words, k, window.actors[k]!);
    for (const end = window.writeEnds[k]!; i < end; i += LOG_STRIDE) {
      words[writes[i]!] = writes[i + 2]!;
    }
  }
};

/** Sites of all steps of the window. */
export const sitesOf = (window: Window, at: ActorWords): Uint32Array => {
  const sites = new Uint32Array(window.count);
  eachStep(window, (words, k, actor) => {
    sites[k] = siteAt(words, at, actor);
  });
  return sites;
};

/** Levels of all steps of the window. */
export const levelsOf = (window: Window, at: ActorWords): Uint8Array => {
  const levels = new Uint8Array(window.count);
  eachStep(window, (words, k, actor) => {
    levels[k] = levelAt(words, at, actor);
  });
  return levels;
};
