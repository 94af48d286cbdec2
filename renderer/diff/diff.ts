// What differs between marker A and marker B, or here; and which difference is looked at.

import { defineStore } from 'pinia';
import { computed, shallowRef } from 'vue';
import { filterTest } from '../state/tree.ts';
import { useFocus } from '../stores/focus.ts';
import { usePosition } from '../stores/position.ts';
import { changesBetween } from './changes.ts';

export const useDiff = defineStore('diff', () => {
  const at = usePosition();
  const focus = useFocus();
  const filter = shallowRef('');
  /** also stacks of actors, and what only checks read */
  const bookkeeping = shallowRef(false);

  const b = computed(() => at.markB ?? at.state);
  const changes = computed(() => {
    const state = at.state;
    if (state === undefined || at.markA === undefined || b.value === undefined) return [];
    return changesBetween(state.of.index, at.markA.words, b.value.words, {
      test: filterTest(filter.value),
      bookkeeping: bookkeeping.value,
    });
  });

  /** Selects the next difference, or the one before; at the end it begins again. */
  const move = (by: 1 | -1): void => {
    const count = changes.value.length;
    if (count === 0) return;
    const now = changes.value.findIndex((change) => change.path === focus.field);
    const next = now < 0 ? (by === 1 ? 0 : count - 1) : (now + by + count) % count;
    focus.field = changes.value[next]?.path ?? '';
  };

  return { filter, bookkeeping, changes, move };
});
