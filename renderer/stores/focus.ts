// What the views have in common besides the position: the chosen vCPU and the field looked for.

import { defineStore } from 'pinia';
import { computed, shallowRef, watch } from 'vue';
import { usePosition } from './position.ts';
import { useRecordings } from './recordings.ts';
import { countOf } from './stacks.ts';

export const useFocus = defineStore('focus', () => {
  const recordings = useRecordings();
  const at = usePosition();
  const vcpu = shallowRef(0);
  /** the level of guest whose APIC is shown */
  const apicOf = shallowRef<1 | 2>(1);
  /** path of the selected field, or '' */
  const field = shallowRef('');
  /** text of the filter over the state */
  const filter = shallowRef('');
  /** grows when the filter is to get the keyboard */
  const filterWanted = shallowRef(0);
  /** the filter of the races is to get the keyboard, and has not got it yet */
  const racesWanted = shallowRef(false);

  const vcpus = computed(() => {
    const layout = recordings.shown?.recording.layout;
    return layout === undefined ? 0 : countOf(layout, 'vcpu');
  });

  const names = computed(() => recordings.shown?.recording.actors ?? []);

  watch(vcpus, () => {
    vcpu.value = 0;
  });
  // The views follow the vCPU that acts, so that what it changed is in sight.
  watch(
    () => at.state?.actor,
    (actor) => {
      const match = /^vcpu(\d+)$/.exec(names.value[actor ?? -1] ?? '');
      if (match !== null && Number(match[1]) < vcpus.value) vcpu.value = Number(match[1]);
    },
  );

  /** Selects a field, and shows it in the tree of the state. */
  const look = (path: string): void => {
    field.value = path;
    filter.value = path;
  };

  /** Lets go of the selected field. */
  const leave = (): void => {
    if (filter.value === field.value) filter.value = '';
    field.value = '';
  };

  return { vcpu, vcpus, apicOf, field, filter, filterWanted, racesWanted, look, leave };
});
