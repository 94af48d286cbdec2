// The worker thread: it reads recordings, and it runs scenarios. The main process starts one that
// answers questions and one that does what takes long, so that a question never waits for a run.

import { parentPort } from 'node:worker_threads';
import type { Answer } from '../preload/api.ts';
import { InputError } from './input_error.ts';
import { jobHandlers } from './worker/jobs.ts';
import { readerHandlers } from './worker/reader.ts';
import type { Call, FromWorker, WorkerHandlers, WorkerRequests } from './worker_protocol.ts';

const send = (message: FromWorker, transfer: readonly ArrayBuffer[] = []): void =>
  parentPort?.postMessage(message, [...transfer]);

const handlers: WorkerHandlers<WorkerRequests> = {
  ...readerHandlers(),
  ...jobHandlers((progress) => send({ kind: 'progress', progress })),
};

parentPort?.on('message', async ({ call, method, args }: Call) => {
  const answer = await answerTo(() => Reflect.apply(handlers[method], undefined, args));
  send({ kind: 'answer', call, answer }, buffersIn(answer));
});

async function answerTo(work: () => unknown): Promise<Answer<unknown>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return { ok: false, error: sentenceFor(error) };
  }
}

/** What is wrong with an input is a sentence already; everything else is a fault of ours. */
function sentenceFor(error: unknown): string {
  if (error instanceof InputError) return error.message;
  if (!(error instanceof Error)) return String(error);
  return error.name === 'RecordingError'
    ? error.message
    : `This is a fault of apicscope itself: ${error.message}`;
}

/** Buffers at the top of an answer are handed over, not copied: nobody here needs them again. */
function buffersIn(answer: Answer<unknown>): ArrayBuffer[] {
  if (!answer.ok || typeof answer.value !== 'object' || answer.value === null) return [];
  return Object.values(answer.value).flatMap((value) =>
    ArrayBuffer.isView(value) && value.buffer instanceof ArrayBuffer ? [value.buffer] : [],
  );
}
