// What happened to a page lately: the last writes of the fields that decide where it is.

import { shallowRef, watch } from 'vue';
import type { StepRef } from '../../preload/api.ts';
import { type State, usePosition } from '../stores/position.ts';
import { api, ask, sentenceOf, track } from '../stores/requests.ts';
import type { GuestPage } from './pointers.ts';

export interface PageEvent extends StepRef {
  readonly path: string;
}

/** Writes of one field, and lines of the whole list. */
const perField = 3;
const eventsMax = 9;
/** A position is asked about when the user has stayed there so long. */
const settleMs = 120;

/** The fields whose writes are the story of the page. */
export const storyPaths = (page: GuestPage): string[] => {
  const held = page.pointers.flatMap(({ holder, path }) => {
    if (holder === 'register' || holder === 'tlb' || path === '') return [];
    return holder === 'ept' ? [path.replace(/\.pfn$/, '.present')] : [path];
  });
  const frames = new Set(page.pointers.map(({ pfn }) => pfn).filter((pfn) => pfn > 0));
  return [...held, ...[...frames].map((pfn) => `frame[${pfn}].freed`)];
};

/** The newest in their order; a write of the same value counts only where it can be a stale one. */
export const storyOf = (events: readonly PageEvent[]): PageEvent[] =>
  events
    .filter(({ path, from, to }) => from !== to || /vmcs0[12]\.\w+_addr$/.test(path))
    .sort((a, b) => a.step - b.step)
    .slice(-eventsMax);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export const usePageHistory = (pageOf: (state: State) => GuestPage | undefined) => {
  const at = usePosition();
  const events = shallowRef<readonly PageEvent[]>([]);
  const fault = shallowRef('');

  const askAt = async (state: State): Promise<void> => {
    const { position, of } = state;
    await pause(settleMs);
    const page = at.state === state ? pageOf(state) : undefined;
    if (page === undefined) return;
    try {
      const lists = await Promise.all(
        storyPaths(page).map(async (path) => {
          const found = await ask(api().writers(of.recording.recording, path, position, perField));
          return found.map((event) => ({ ...event, path }));
        }),
      );
      if (at.state === state) events.value = storyOf(lists.flat());
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    }
  };

  watch(
    () => at.state,
    (state) => {
      fault.value = '';
      if (state !== undefined) void track(askAt(state));
    },
    { immediate: true },
  );

  return { events, fault };
};
