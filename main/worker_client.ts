// The main process's side of a worker: calls, and a new worker when one has died.

import { Worker } from 'node:worker_threads';
import type { Progress } from '../preload/api.ts';
import type { Call, FromWorker, WorkerMethod, WorkerRequests } from './worker_protocol.ts';

interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

export interface WorkerOptions {
  /** the worker's program */
  readonly file: URL;
  onProgress?(progress: Progress): void;
  /** A new worker knows nothing: what must be told to it before anything else is asked. */
  onStart?(): void;
}

export class WorkerClient {
  readonly #options: WorkerOptions;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #calls = 0;

  /** The worker is started by the first call. */
  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  call<K extends WorkerMethod>(
    method: K,
    ...args: Parameters<WorkerRequests[K]>
  ): Promise<ReturnType<WorkerRequests[K]>> {
    if (this.#worker === undefined) {
      this.#worker = this.#start();
      this.#options.onStart?.();
    }
    const worker = this.#worker;
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#pending.set(call, { resolve, reject });
      worker.postMessage({ call, method, args } satisfies Call);
    });
  }

  /** Ends the worker; what it was asked and has not answered is refused. */
  async end(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(this.#options.file);
    let why = 'it ended';
    worker.on('message', (message: FromWorker) => this.#receive(message));
    worker.on('error', (error: Error) => {
      why = error.message;
    });
    worker.on('exit', () => this.#lost(worker, why));
    return worker;
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'progress') {
      this.#options.onProgress?.(message.progress);
      return;
    }
    const pending = this.#pending.get(message.call);
    this.#pending.delete(message.call);
    if (message.answer.ok) pending?.resolve(message.answer.value as never);
    else pending?.reject(new Error(message.answer.error));
  }

  /** Every call that waits is answered; the next one starts a new worker. */
  #lost(worker: Worker, why: string): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of waiting) {
      reject(new Error(`The worker that did this has stopped (${why}); try it again.`));
    }
  }
}
