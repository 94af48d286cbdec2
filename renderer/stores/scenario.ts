// The scenario in the editor, and how it is to be run.

import { defineStore } from 'pinia';
import { computed, shallowRef } from 'vue';
import { profileOf } from '../../main/sim/state/switches.ts';
import type { LibraryEntry, RunRequest } from '../../preload/api.ts';
import { useRecordings } from './recordings.ts';
import { api, ask, sentenceOf } from './requests.ts';

const newScenario = `# A new scenario. Ctrl+Space offers what can stand here; Ctrl+Enter runs it.
`;

export const useScenario = defineStore('scenario', () => {
  const name = shallowRef('new');
  const path = shallowRef<string>();
  const text = shallowRef(newScenario);
  /** the profile instead of the one that the text names, or '' */
  const profile = shallowRef('');
  /** switches that differ from text and profile */
  const switches = shallowRef<Readonly<Record<string, string>>>({});
  const schedule = shallowRef('');
  const seed = shallowRef('');
  const fault = shallowRef('');
  const problems = shallowRef(0);

  const overrides = computed(() => Object.keys(switches.value).length);

  const replace = (next: { name: string; path: string | undefined; text: string }): void => {
    name.value = next.name;
    path.value = next.path;
    text.value = next.text;
    profile.value = '';
    switches.value = {};
    schedule.value = '';
    seed.value = '';
    fault.value = '';
  };

  const openEntry = (entry: LibraryEntry): void =>
    replace({ name: entry.id, path: undefined, text: entry.text });

  const begin = (): void => replace({ name: 'new', path: undefined, text: newScenario });

  /** What the profile says about a switch, '' while only the text can tell. */
  const presetOf = (id: string): string => {
    const preset: Readonly<Record<string, string>> = profileOf(profile.value)?.switches ?? {};
    return preset[id] ?? '';
  };

  /** Sets a switch for the next run; '' leaves it to text and profile. */
  const setSwitch = (id: string, value: string): void => {
    const rest = Object.entries(switches.value).filter(([other]) => other !== id);
    switches.value = Object.fromEntries(value === '' ? rest : [...rest, [id, value]]);
  };

  const request = (): RunRequest => ({
    name: name.value,
    text: text.value,
    ...(profile.value === '' ? {} : { profile: profile.value }),
    ...(overrides.value === 0 ? {} : { switches: switches.value }),
    ...(schedule.value.trim() === '' ? {} : { schedule: schedule.value.trim() }),
    ...(seed.value.trim() === '' ? {} : { seed: Number(seed.value) }),
  });

  const run = (): Promise<boolean> => {
    if (!/^\d*$/.test(seed.value.trim())) {
      fault.value = `The seed "${seed.value}" is not a number: use 0 to 4294967295.`;
      return Promise.resolve(false);
    }
    fault.value = '';
    return useRecordings().run(request());
  };

  /** Takes a bundled scenario and records it. */
  const record = (entry: LibraryEntry): Promise<boolean> => {
    openEntry(entry);
    return run();
  };

  const open = async (): Promise<void> => {
    try {
      const file = await ask(api().openScenario());
      if (file === undefined) return;
      const base = file.path.split(/[\\/]/).at(-1) ?? file.path;
      replace({ name: base.replace(/\.scn$/, ''), path: file.path, text: file.text });
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    }
  };

  const save = async (): Promise<void> => {
    try {
      path.value = (await ask(api().saveScenario(path.value, text.value))) ?? path.value;
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    }
  };

  return {
    name,
    path,
    text,
    profile,
    switches,
    schedule,
    seed,
    fault,
    problems,
    overrides,
    openEntry,
    begin,
    presetOf,
    setSwitch,
    request,
    run,
    record,
    open,
    save,
  };
});
