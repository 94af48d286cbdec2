// Asking the main process: one answer or one sentence, and what is still pending.

import { nextTick, shallowRef } from 'vue';
import type { Answer, Api } from '../../preload/api.ts';

/** How many requests have not been answered yet. */
export const pendingCount = shallowRef(0);

const waiting: (() => void)[] = [];

/** The message of an answer that is no value: a sentence for the user. */
export class RequestFault extends Error {}

export const api = (): Api => window.apicscope;

/** Counts the work as pending until it has ended, well or not. */
export async function track<T>(work: Promise<T>): Promise<T> {
  pendingCount.value++;
  try {
    return await work;
  } finally {
    pendingCount.value--;
    if (pendingCount.value === 0) for (const resolve of waiting.splice(0)) resolve();
  }
}

/** The value of an answer; throws a `RequestFault` if it has none. */
export async function ask<T>(answer: Promise<Answer<T>>): Promise<T> {
  const given = await track(answer);
  if (!given.ok) throw new RequestFault(given.error);
  return given.value;
}

/** The sentence to show for anything that was thrown. */
export const sentenceOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

/** Resolves when no request is pending and what came of them has been drawn. */
export async function idle(): Promise<void> {
  for (;;) {
    await nextTick();
    await new Promise<void>((resolve) => requestAnimationFrame(() => resolve()));
    if (pendingCount.value === 0) return;
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
}
