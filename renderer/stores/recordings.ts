// The recordings that are open, and what is derived once from the layout of the shown one.

import { defineStore } from 'pinia';
import { computed, markRaw, shallowRef } from 'vue';
import { LeafIndex } from '../../main/sim/arena/leaves.ts';
import { type ActorWords, actorWordsOf } from '../../main/sim/arena/window_sites.ts';
import type { OpenRecording, RunRequest, SiteEntry } from '../../preload/api.ts';
import { useJobs } from './jobs.ts';
import { api, ask, sentenceOf } from './requests.ts';
import { Windows } from './windows.ts';

/** An open recording with what is derived from it. */
export interface Shown {
  readonly recording: OpenRecording;
  readonly index: LeafIndex;
  readonly sites: ReadonlyMap<number, SiteEntry>;
  readonly actors: ActorWords;
  readonly windows: Windows;
}

const shownOf = (recording: OpenRecording): Shown =>
  markRaw({
    recording,
    index: new LeafIndex(recording.layout),
    sites: new Map(recording.sites.map((site) => [site.id, site])),
    actors: actorWordsOf(recording.layout),
    windows: new Windows(recording),
  });

export const useRecordings = defineStore('recordings', () => {
  const open = shallowRef<readonly Shown[]>([]);
  const shown = shallowRef<Shown>();
  const recent = shallowRef<readonly string[]>([]);
  /** why the last attempt to open, run or save failed */
  const fault = shallowRef('');

  const steps = computed(() => shown.value?.recording.steps ?? 0);
  const findings = computed(() =>
    [...(shown.value?.recording.findings ?? [])].sort((a, b) => a.position - b.position),
  );

  const show = (recording: OpenRecording): void => {
    const known = open.value.find((one) => one.recording.recording === recording.recording);
    const next = known ?? shownOf(recording);
    if (known === undefined) open.value = [...open.value, next];
    shown.value = next;
    fault.value = '';
  };

  const guarded = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    fault.value = '';
    try {
      return await work();
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
      return undefined;
    }
  };

  const loadRecent = async (): Promise<void> => {
    recent.value = (await guarded(() => ask(api().recentFiles()))) ?? [];
  };

  /** Opens a file, or the one that a dialogue asks for. */
  const openFile = async (path?: string): Promise<void> => {
    const recording = await guarded(() => ask(api().open(path)));
    if (recording === undefined) return;
    show(recording);
    await loadRecent();
  };

  /** Runs a scenario and shows its recording; says whether it came to that. */
  const run = async (request: RunRequest): Promise<boolean> => {
    const jobs = useJobs();
    const recording = await guarded(() =>
      jobs.start(`run ${request.name}`, (job) => ask(api().run(job, request))),
    );
    if (recording === undefined) return false;
    show(recording);
    await loadRecent();
    return true;
  };

  const close = async (recording: number): Promise<void> => {
    await guarded(() => ask(api().close(recording)));
    open.value = open.value.filter((one) => one.recording.recording !== recording);
    if (shown.value?.recording.recording === recording) shown.value = open.value.at(-1);
  };

  const exportShown = async (): Promise<void> => {
    const one = shown.value;
    if (one !== undefined) {
      await guarded(() => ask(api().exportRecording(one.recording.recording)));
    }
  };

  return {
    open,
    shown,
    recent,
    fault,
    steps,
    findings,
    show,
    openFile,
    run,
    close,
    exportShown,
    loadRecent,
  };
});
