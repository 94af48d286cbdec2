// Where in the recording the window is: the position, the state there and before its last step.

import { defineStore } from 'pinia';
import { computed, markRaw, shallowRef, watch } from 'vue';
import { Arena, LOG_STRIDE } from '../../main/sim/arena/arena.ts';
import { viewOf } from '../../main/sim/arena/views.ts';
import { type Window as Steps, stateAt as stateInto } from '../../main/sim/arena/window.ts';
import type { MachineView } from '../../main/sim/state/machine.ts';
import { type Shown, useRecordings } from './recordings.ts';
import { sentenceOf } from './requests.ts';
import { actorOf, writesOf } from './steps.ts';

/** The state that is shown: `words` at the position, `before` at the one before it. */
export interface State {
  readonly of: Shown;
  readonly position: number;
  /** the same two buffers for every position of a recording */
  readonly words: Uint32Array;
  readonly before: Uint32Array;
  /** accessors over `words` */
  readonly machine: MachineView;
  /** the step that led here: its number and actor, both −1 at position 0 */
  readonly step: number;
  readonly actor: number;
  /** its writes: word, old, new … */
  readonly writes: Uint32Array;
  readonly changed: ReadonlySet<number>;
}

/** A marked position with its state. */
export interface Mark {
  readonly position: number;
  readonly words: Uint32Array;
}

const noWrites = new Uint32Array(0);

interface Buffers {
  readonly of: Shown;
  readonly arena: Arena;
  readonly machine: MachineView;
  readonly before: Uint32Array;
}

const buffersOf = (of: Shown): Buffers => {
  const { layout } = of.recording;
  const arena = new Arena(layout.bytes >>> 2);
  return markRaw({
    of,
    arena,
    machine: viewOf<MachineView>(arena, layout),
    before: new Uint32Array(arena.words.length),
  });
};

const changedWords = (writes: Uint32Array): Set<number> => {
  const changed = new Set<number>();
  for (let i = 0; i < writes.length; i += LOG_STRIDE) {
    if (writes[i + 1] !== writes[i + 2]) changed.add(writes[i]!);
  }
  return changed;
};

export const usePosition = defineStore('position', () => {
  const recordings = useRecordings();
  /** where the user wants to be */
  const position = shallowRef(0);
  /** what is drawn; behind `position` until its window has come */
  const state = shallowRef<State>();
  const fault = shallowRef('');
  const markA = shallowRef<Mark>();
  const markB = shallowRef<Mark>();
  const trail = shallowRef<readonly number[]>([]);
  const ahead = shallowRef<readonly number[]>([]);

  const steps = computed(() => recordings.steps);
  const stale = computed(() => state.value?.position !== position.value);

  let buffers: Buffers | undefined;

  const draw = (window: Steps, at: number): void => {
    const of = recordings.shown;
    if (of === undefined) return;
    if (buffers?.of !== of) buffers = buffersOf(of);
    const { arena, machine, before } = buffers;
    stateInto(window, at, arena.words);
    stateInto(window, Math.max(at - 1, 0), before);
    const writes = at === 0 ? noWrites : writesOf(window, at - 1);
    const actor = at === 0 ? -1 : actorOf(window, at - 1);
    state.value = markRaw({
      of,
      position: at,
      words: arena.words,
      before,
      machine,
      step: at - 1,
      actor,
      writes,
      changed: changedWords(writes),
    });
    of.windows.prefetch(window.first + window.count);
    of.windows.prefetch(window.first - 1);
  };

  const fetch = async (of: Shown, at: number): Promise<void> => {
    try {
      const window = await of.windows.load(Math.max(0, at - 1));
      // The latest request wins: what was overtaken is kept in the cache and not drawn.
      if (position.value === at && recordings.shown === of) draw(window, at);
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    }
  };

  /** Goes to a position, at once if its window is here. */
  const moveTo = (wanted: number): void => {
    const of = recordings.shown;
    if (of === undefined) return;
    const at = Math.min(Math.max(0, Math.round(wanted)), of.recording.steps);
    position.value = at;
    fault.value = '';
    const window = of.windows.kept(Math.max(0, at - 1));
    if (window !== undefined) draw(window, at);
    else void fetch(of, at);
  };

  /** As `moveTo`, and the place left can be returned to. */
  const jumpTo = (wanted: number): void => {
    if (wanted === position.value) return;
    trail.value = [...trail.value.slice(-99), position.value];
    ahead.value = [];
    moveTo(wanted);
  };

  const back = (): void => {
    const to = trail.value.at(-1);
    if (to === undefined) return;
    trail.value = trail.value.slice(0, -1);
    ahead.value = [...ahead.value, position.value];
    moveTo(to);
  };

  const forth = (): void => {
    const to = ahead.value.at(-1);
    if (to === undefined) return;
    ahead.value = ahead.value.slice(0, -1);
    trail.value = [...trail.value, position.value];
    moveTo(to);
  };

  /** The state at any position, as a copy. */
  const stateAt = async (at: number): Promise<Mark> => {
    const of = recordings.shown;
    if (of === undefined) throw new Error('No recording is shown.');
    const window = await of.windows.load(Math.max(0, at - 1));
    const words = new Uint32Array(window.keyframe.length);
    stateInto(window, at, words);
    return markRaw({ position: at, words });
  };

  const hereMarked = (): Mark | undefined =>
    state.value && markRaw({ position: state.value.position, words: state.value.words.slice() });

  const setA = (): void => {
    markA.value = hereMarked();
  };
  const setB = (): void => {
    markB.value = hereMarked();
  };
  const swapMarks = (): void => {
    [markA.value, markB.value] = [markB.value, markA.value];
  };
  const setMarks = (a: Mark, b: Mark): void => {
    markA.value = a;
    markB.value = b;
  };

  watch(
    () => recordings.shown,
    (of) => {
      state.value = undefined;
      markA.value = undefined;
      markB.value = undefined;
      trail.value = [];
      ahead.value = [];
      position.value = 0;
      if (of === undefined) return;
      const finding = recordings.findings[0];
      moveTo(finding?.position ?? 0);
    },
    { flush: 'sync' },
  );

  return {
    position,
    state,
    fault,
    stale,
    steps,
    markA,
    markB,
    trail,
    ahead,
    moveTo,
    jumpTo,
    back,
    forth,
    stateAt,
    setA,
    setB,
    swapMarks,
    setMarks,
  };
});
