// Who wrote a field: going to the step that gave it the value that it has.

import { defineStore } from 'pinia';
import { shallowRef, watch } from 'vue';
import { type Leaf, leafAt, wordsOf } from '../../main/sim/arena/leaves.ts';
import { usePosition } from './position.ts';
import { useRecordings } from './recordings.ts';
import { api, ask, sentenceOf, track } from './requests.ts';
import { nearestWriter } from './seek.ts';

const wordsIn = (leaf: Leaf): number[] =>
  Array.from({ length: wordsOf(leaf) }, (_, i) => leaf.word + i * leaf.step);

export const useWriters = defineStore('writers', () => {
  const recordings = useRecordings();
  const at = usePosition();
  const fault = shallowRef('');
  let newest = 0;

  /** Goes to the last step before or at the position that wrote the field. */
  const toLast = async (path: string, position = at.position): Promise<void> => {
    const of = recordings.shown;
    if (of === undefined) return;
    fault.value = '';
    try {
      const number = of.recording.recording;
      const [last] = await ask(api().writers(number, path, position, 1));
      if (last === undefined) {
        fault.value = `No step up to position ${position} wrote ${path}: it is as the machine booted.`;
      } else if (recordings.shown === of) at.jumpTo(last.step + 1);
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    }
  };

  /** Goes to the step before the one that led here that wrote the field. */
  const toEarlier = (path: string): Promise<void> => toLast(path, Math.max(0, at.position - 1));

  /** Goes to the next step that writes the field. */
  const toNext = async (path: string): Promise<void> => {
    const of = recordings.shown;
    const leaf = of && leafAt(of.recording.layout, path);
    if (of === undefined || leaf === undefined) return;
    fault.value = '';
    const mine = ++newest;
    const words = new Set(wordsIn(leaf));
    const wanted = (): boolean => mine === newest && recordings.shown === of;
    const step = await track(nearestWriter(of.windows, words, at.position, wanted));
    if (!wanted()) return;
    if (step >= 0) at.jumpTo(step + 1);
    else fault.value = `No step behind position ${at.position} writes ${path}.`;
  };

  watch(
    () => at.position,
    () => {
      fault.value = '';
    },
  );

  return { fault, toLast, toEarlier, toNext };
});
