// The bundled scenarios, in the groups that the sidebar shows, and the names that a text can use.

import { defineStore } from 'pinia';
import { computed, shallowRef } from 'vue';
import { racesOf } from '../../main/sim/races.ts';
import type { FunctionEntry, LibraryEntry } from '../../preload/api.ts';
import { api, ask, sentenceOf } from './requests.ts';

export const useLibrary = defineStore('library', () => {
  const entries = shallowRef<readonly LibraryEntry[]>([]);
  /** the functions that a schedule can name */
  const functions = shallowRef<readonly FunctionEntry[]>([]);
  const fault = shallowRef('');
  const races = computed(() => racesOf(entries.value));
  const teaching = computed(() => entries.value.filter((entry) => entry.race === undefined));

  const load = async (): Promise<void> => {
    try {
      const asked = [ask(api().library()), ask(api().functions())] as const;
      [entries.value, functions.value] = await Promise.all(asked);
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    }
  };

  const entryOf = (id: string): LibraryEntry | undefined =>
    entries.value.find((entry) => entry.id === id);

  return { entries, functions, races, teaching, fault, load, entryOf };
});
