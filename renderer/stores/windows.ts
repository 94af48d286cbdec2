// The decoded windows of a recording: the few that were used last stay in memory.

import { decodeWindow, type Window as Steps } from '../../main/sim/arena/window.ts';
import { api, ask } from './requests.ts';

const windowsMax = 32;

export const holds = (window: Steps, step: number): boolean =>
  step >= window.first && step < window.first + window.count;

export class Windows {
  readonly recording: number;
  readonly steps: number;
  readonly #boot: Uint32Array;
  /** least recently used first */
  #kept: Steps[] = [];
  readonly #loading = new Map<number, Promise<Steps>>();

  constructor(of: { recording: number; steps: number; boot: Uint32Array }) {
    this.recording = of.recording;
    this.steps = of.steps;
    this.#boot = of.boot;
  }

  /** The window that holds the step, if it is here. */
  kept(step: number): Steps | undefined {
    const found = this.#kept.find((window) => holds(window, step));
    if (found !== undefined && found !== this.#kept.at(-1)) {
      this.#kept = [...this.#kept.filter((window) => window !== found), found];
    }
    return found;
  }

  /** The windows here that hold steps from `first` up to `end`, in their order. */
  between(first: number, end: number): Steps[] {
    return this.#kept
      .filter((window) => window.first < end && window.first + window.count > first)
      .sort((a, b) => a.first - b.first);
  }

  /** The window that holds the step; of step 0 of an empty recording, its one empty window. */
  async load(step: number): Promise<Steps> {
    const kept = this.kept(step);
    if (kept !== undefined) return kept;
    const known = this.#loading.get(step);
    if (known !== undefined) return known;
    const loading = this.#fetch(step);
    this.#loading.set(step, loading);
    try {
      return await loading;
    } finally {
      this.#loading.delete(step);
    }
  }

  /** Loads what is likely to be wanted next; a fault shows when it really is. */
  prefetch(step: number): void {
    if (step < 0 || step >= this.steps || this.kept(step) !== undefined) return;
    void this.load(step).catch(() => undefined);
  }

  async #fetch(step: number): Promise<Steps> {
    const { bytes } = await ask(api().windowAt(this.recording, step));
    const window = decodeWindow(bytes, this.#boot);
    this.#kept = [...this.#kept.filter((other) => other.first !== window.first), window].slice(
      -windowsMax,
    );
    return window;
  }
}
