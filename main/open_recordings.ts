// The recordings that the window has open, by number; they outlive the worker that reads them.

import type { OpenRecording, Progress } from '../preload/api.ts';
import { WorkerClient } from './worker_client.ts';

export class OpenRecordings {
  /** answers questions about them */
  readonly reader: WorkerClient;
  /** does what takes long */
  readonly jobs: WorkerClient;
  readonly #paths = new Map<number, string>();
  #last = 0;

  constructor(file: URL, onProgress: (progress: Progress) => void) {
    this.jobs = new WorkerClient({ file, onProgress });
    this.reader = new WorkerClient({ file, onStart: () => this.#openAgain() });
  }

  async open(path: string): Promise<OpenRecording> {
    const recording = ++this.#last;
    const open = await this.reader.call('open', recording, path);
    this.#paths.set(recording, path);
    return open;
  }

  close(recording: number): Promise<boolean> {
    this.#paths.delete(recording);
    return this.reader.call('close', recording);
  }

  pathOf(recording: number): string {
    const path = this.#paths.get(recording);
    if (path !== undefined) return path;
    throw new Error('This recording is not open any more; open it again.');
  }

  /** After a crash. What cannot be opened again is told by the next question about it. */
  #openAgain(): void {
    for (const [recording, path] of this.#paths) {
      this.reader.call('open', recording, path).catch(() => this.#paths.delete(recording));
    }
  }
}
