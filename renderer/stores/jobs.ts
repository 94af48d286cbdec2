// Long work: what runs, how far it is, and cancelling it.

import { defineStore } from 'pinia';
import { shallowRef } from 'vue';
import type { Progress } from '../../preload/api.ts';
import { api } from './requests.ts';

export interface Job extends Progress {
  readonly cancelled: boolean;
}

export const useJobs = defineStore('jobs', () => {
  const running = shallowRef<readonly Job[]>([]);
  let last = 0;

  const change = (job: number, by: Partial<Job>): void => {
    running.value = running.value.map((one) => (one.job === job ? { ...one, ...by } : one));
  };

  /** Performs `work` under a job number of its own and shows its progress. */
  const start = async <T>(what: string, work: (job: number) => Promise<T>): Promise<T> => {
    const job = ++last;
    const fresh: Job = {
      job,
      what,
      part: undefined,
      steps: 0,
      stepsPerSecond: 0,
      cancelled: false,
    };
    running.value = [...running.value, fresh];
    try {
      return await work(job);
    } finally {
      running.value = running.value.filter((one) => one.job !== job);
    }
  };

  /** Asks for the end of the job that was started last. */
  const cancel = (): void => {
    const newest = running.value.at(-1);
    if (newest === undefined || newest.cancelled) return;
    change(newest.job, { cancelled: true });
    void api().cancel(newest.job);
  };

  const listen = (): (() => void) => api().onProgress((progress) => change(progress.job, progress));

  return { running, start, cancel, listen };
});
