// The step that led to the position, in words: who, where, what, and who is next.

import { actorState } from '../../main/sim/state/actor.ts';
import type { SiteEntry } from '../../preload/api.ts';
import type { State } from '../stores/position.ts';
import type { Shown } from '../stores/recordings.ts';
import { framesOf } from '../stores/stacks.ts';
import { filledLabel, sourceText } from './label.ts';

export interface StoryFrame {
  readonly function: string;
  readonly label: string;
  /** where the function is from, e.g. `virt/kvm/kvm_main.c` */
  readonly source: string;
}

export interface NextStep {
  readonly actor: string;
  readonly state: 'ready' | 'parked' | 'done';
  readonly function: string;
  readonly label: string;
}

const unknownSite = (id: number): SiteEntry => ({
  id,
  function: `site 0x${id.toString(16)}`,
  label: '',
  world: '',
  source: '',
});

/** The call stack of an actor at a state, innermost first. */
export const storyFrames = (of: Shown, words: Uint32Array, actor: number): StoryFrame[] =>
  framesOf(words, of.actors, actor).map((frame) => {
    const site = of.sites.get(frame.site) ?? unknownSite(frame.site);
    return {
      function: site.function,
      label: filledLabel(site.label, frame.locals),
      source: sourceText(site),
    };
  });

const stateNames = new Map<number, NextStep['state']>([
  [actorState.READY, 'ready'],
  [actorState.PARKED, 'parked'],
  [actorState.DONE, 'done'],
]);

/** What each actor stands before. */
export const nextSteps = (state: State): NextStep[] =>
  state.of.recording.actors.map((actor, i) => {
    const top = storyFrames(state.of, state.words, i)[0];
    return {
      actor,
      state: stateNames.get(state.machine.actor[i]?.state ?? actorState.DONE) ?? 'done',
      function: top?.function ?? '',
      label: top?.label ?? '',
    };
  });
