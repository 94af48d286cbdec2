// What the main process and its workers say to each other: calls, answers, progress.

import type {
  Answer,
  BisectAnswer,
  BisectRequest,
  LibraryEntry,
  OpenRecording,
  Overview,
  Progress,
  RunRequest,
  StepRef,
  WindowBytes,
} from '../preload/api.ts';

/** Questions about open recordings, which have the numbers that the main process gives them. */
export interface ReaderRequests {
  /** The scenarios in a folder, and those of the files besides. */
  library(folder: string, files: readonly string[]): LibraryEntry[];
  open(recording: number, path: string): OpenRecording;
  close(recording: number): boolean;
  windowAt(recording: number, position: number): WindowBytes;
  overview(recording: number, from: number, to: number, buckets: number): Overview;
  writers(recording: number, path: string, before: number, limit: number): StepRef[];
}

/** What takes long; recordings are named by their files. */
export interface JobRequests {
  /** Runs and records into the file. */
  run(job: number, request: RunRequest, file: string): void;
  find(file: string, expression: string, from: number, to: number, limit: number): number[];
  bisect(job: number, request: BisectRequest, file: string): BisectAnswer;
  cancel(job: number): boolean;
}

export type WorkerRequests = ReaderRequests & JobRequests;
export type WorkerMethod = keyof WorkerRequests;

export interface Call {
  readonly call: number;
  readonly method: WorkerMethod;
  readonly args: readonly unknown[];
}

export type FromWorker =
  | { readonly kind: 'answer'; readonly call: number; readonly answer: Answer<unknown> }
  | { readonly kind: 'progress'; readonly progress: Progress };

export type WorkerHandlers<R> = {
  readonly [K in keyof R]: R[K] extends (...args: infer A) => infer T
    ? (...args: A) => T | Promise<T>
    : never;
};
