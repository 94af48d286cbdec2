// The bundled scenarios, in the groups that the sidebar shows, and the names that a text can use.

import { defineStore } from 'pinia';
import { computed, shallowRef } from 'vue';
import type { FunctionEntry, LibraryEntry } from '../../preload/api.ts';
import { api, ask, sentenceOf } from './requests.ts';

/** A race with its twins and what else is told of it. */
export interface Race {
  readonly id: string;
  readonly title: string;
  readonly entries: readonly LibraryEntry[];
}

/** The title without the name of the race, which stands beside it already. */
export const shortTitle = (title: string): string => title.replace(/^R\d+: /, '');

export const racesOf = (entries: readonly LibraryEntry[]): Race[] => {
  const races = new Map<string, LibraryEntry[]>();
  for (const entry of entries) {
    if (entry.race !== undefined) {
      races.set(entry.race, [...(races.get(entry.race) ?? []), entry]);
    }
  }
  return [...races]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([id, found]) => ({
      id,
      title: shortTitle(found[0]?.title ?? id),
      entries: found.toSorted((a, b) => (a.twin ?? '~').localeCompare(b.twin ?? '~')),
    }));
};

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
