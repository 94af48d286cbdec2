// The call stack of an actor at a state, with the values that its functions hold.

import type { RecordType } from '../../main/sim/arena/fields.ts';
import type { ActorWords } from '../../main/sim/arena/window_sites.ts';

/** A called function of an actor, and the step that it stands before. */
export interface StackFrame {
  readonly site: number;
  readonly locals: readonly number[];
}

/** The call stack, innermost first. */
export const framesOf = (words: Uint32Array, at: ActorWords, actor: number): StackFrame[] => {
  const depth = Math.min(words[at.depth[actor] ?? -1] ?? 0, at.depthMax);
  const first = at.site[actor] ?? 0;
  return Array.from({ length: depth }, (_, i) => {
    const frame = first + (depth - 1 - i) * at.frameWords;
    return {
      site: words[frame] ?? 0,
      locals: [...words.subarray(frame + 1, frame + at.frameWords)],
    };
  });
};

/** Elements of one of the machine's arrays. */
export const countOf = (layout: RecordType, array: string): number =>
  layout.fields.find((field) => field.name === array)?.count ?? 0;
