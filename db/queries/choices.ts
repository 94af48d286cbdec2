/** Which actor went next, again and again? The schedule, also of a run that was cut off. */
import type { Reader } from '../reader.ts';

export interface Choice {
  readonly actor: string;
  /** steps that it took in a row */
  readonly count: number;
}

/** The choices of steps 0 to `to − 1`, run-length encoded. */
export const choices = (reader: Reader, to = reader.steps): Choice[] => {
  reader.demandPosition(to);
  const runs: { actor: string; count: number }[] = [];
  for (let id = 0; id < reader.windowCount; id++) {
    const { first, count, lanes } = reader.lanes(id);
    for (let k = 0; k < count && first + k < to; k++) {
      const actor = reader.header.actors[lanes[k]!]!;
      const last = runs.at(-1);
      if (last?.actor === actor) last.count++;
      else runs.push({ actor, count: 1 });
    }
  }
  return runs;
};
