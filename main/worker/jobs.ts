// What takes long: runs, searches, bisections. They go in slices, so that a cancel gets through.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Broken } from '#db/queries/bisect.ts';
import { openRecording, type Recording } from '#db/recording.ts';
import type { BisectAnswer, BisectRequest, Progress, RunRequest } from '../../preload/api.ts';
import { InputError } from '../input_error.ts';
import { checkOf, predicateOf } from '../predicates.ts';
import { startRun } from '../session.ts';
import type { JobRequests, WorkerHandlers } from '../worker_protocol.ts';

const sliceMs = 20;
/** Steps that a search looks at in one slice: about as long. */
const sliceSteps = 1 << 15;
const reportedEveryMs = 100;

type Report = (progress: Progress) => void;

export function jobHandlers(report: Report): WorkerHandlers<JobRequests> {
  const cancelled = new Set<number>();
  const running = new Set<number>();
  /** Between slices: reads messages, and says whether the job was cancelled meanwhile. */
  const isCancelled = async (job: number): Promise<boolean> => {
    await nextTurn();
    return cancelled.has(job);
  };
  const asJob = async <T>(job: number, work: () => Promise<T>): Promise<T> => {
    running.add(job);
    try {
      return await work();
    } finally {
      running.delete(job);
      cancelled.delete(job);
    }
  };
  return {
    run: (job, request, file) =>
      asJob(job, () => run(request, file, pacer(job, report), () => isCancelled(job))),
    find: (file, expression, from, to, limit) =>
      withFile(file, (recording) => find(recording, expression, { from, to, limit })),
    bisect: (job, request, file) =>
      asJob(job, () =>
        withFile(file, (recording) =>
          bisect(recording, request, pacer(job, report), () => isCancelled(job)),
        ),
      ),
    cancel(job) {
      if (running.has(job)) cancelled.add(job);
      return running.has(job);
    },
  };
}

type Pace = (what: Omit<Progress, 'job'>) => void;

/** Reports a job a few times a second, however often it is called. */
function pacer(job: number, report: Report): Pace {
  let due = performance.now() + reportedEveryMs;
  return (what) => {
    const now = performance.now();
    if (now < due) return;
    due = now + reportedEveryMs;
    report({ job, ...what });
  };
}

async function run(
  request: RunRequest,
  file: string,
  pace: Pace,
  isCancelled: () => Promise<boolean>,
): Promise<void> {
  const { name, text, ...settings } = request;
  const session = startRun({ name, path: name, text }, settings, file);
  try {
    while (session.advance(sliceMs)) {
      const { steps } = session.run;
      const stepsPerSecond = session.run.stepsPerSecond();
      pace({ what: `running ${name}`, part: undefined, steps, stepsPerSecond });
      if (await isCancelled()) session.cancel();
    }
    session.finish();
  } catch (error) {
    session.abandon();
    throw error;
  }
}

async function withFile<T>(file: string, use: (recording: Recording) => Promise<T>): Promise<T> {
  const recording = openRecording(file);
  try {
    return await use(recording);
  } finally {
    recording.close();
  }
}

interface FindRange {
  readonly from: number;
  readonly to: number;
  readonly limit: number;
}

async function find(
  recording: Recording,
  expression: string,
  { from, to, limit }: FindRange,
): Promise<number[]> {
  const predicate = predicateOf(expression, recording.layout);
  const last = Math.min(to, recording.steps);
  const found: number[] = [];
  for (let start = from; start <= last && found.length < limit; start += sliceSteps) {
    const end = Math.min(start + sliceSteps - 1, last);
    found.push(...recording.find(predicate, { from: start, to: end, limit: limit - found.length }));
    await nextTurn();
  }
  return found;
}

async function bisect(
  recording: Recording,
  request: BisectRequest,
  pace: Pace,
  isCancelled: () => Promise<boolean>,
): Promise<BisectAnswer> {
  const start = performance.now();
  const { from = 0, to = recording.steps, invariant, expression } = request;
  let evaluations = 0;
  for (const ask of questions(recording, { invariant, expression, from, to })) {
    const { broken, evaluations: more } = ask();
    evaluations += more;
    const seconds = (performance.now() - start) / 1000;
    if (broken !== undefined) return { ...broken, evaluations, seconds };
    pace({ what: 'bisecting', part: undefined, steps: evaluations, stepsPerSecond: 0 });
    if (await isCancelled()) throw new InputError('The bisection was cancelled.');
  }
  throw new InputError(`It held from position ${from} to ${to}: there is no step that broke it.`);
}

interface Question {
  readonly invariant: string | undefined;
  readonly expression: string | undefined;
  readonly from: number;
  readonly to: number;
}

type Ask = () => { readonly broken: Broken | undefined; readonly evaluations: number };

/** An expression is asked of one part of the run after the other, an invariant of all at once. */
function* questions(recording: Recording, question: Question): Generator<Ask> {
  const { invariant, expression, from, to } = question;
  if (invariant !== undefined) {
    yield () => recording.bisectCheck(checkOf(invariant), { from, to });
  } else if (expression !== undefined) {
    const isBad = predicateOf(expression, recording.layout);
    // Each part begins where the one before ended, so that no change falls between them.
    for (let start = from; start === from || start < to; start += sliceSteps) {
      const end = Math.min(start + sliceSteps, to);
      yield () => recording.bisectPredicate(isBad, { from: start, to: end });
    }
  } else {
    throw new InputError('Choose an invariant or write an expression to bisect.');
  }
}
