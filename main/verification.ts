/**
 * Runs the scenario of a recording again, with the choices that it recorded, and compares every
 * step: who took it and what it wrote. Equal steps from an equal start mean equal positions.
 */
import type { Recording } from '#db/recording.ts';
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { entryAt, type Window } from '#sim/arena/window.ts';
import { boot } from '#sim/boot.ts';
import { replay } from '#sim/sched/policies/replay.ts';
import type { Watcher } from '#sim/sched/run.ts';
import type { Machine } from '#sim/steps.ts';
import { modelVersion } from '#sim/version.ts';
import { CheckedRun } from './checked_run.ts';
import { compiled } from './compiled.ts';

export interface Difference {
  /** the step that differs; −1 if the boot images do */
  readonly step: number;
  readonly message: string;
}

/** Steps whose log is kept. */
const stepsKept = 4096;

export class Verification {
  difference: Difference | undefined;
  readonly #recording: Recording;
  readonly #run: CheckedRun | undefined;

  constructor(recording: Recording) {
    this.#recording = recording;
    const { header } = recording;
    if (header.modelVersion !== modelVersion) {
      this.difference = {
        step: -1,
        message:
          `it was recorded under version ${header.modelVersion} of the model, and this is ` +
          `version ${modelVersion}: its steps cannot be expected to be the same`,
      };
      return;
    }
    const machine = this.#boot();
    this.difference = bootDifference(recording, machine);
    if (this.difference !== undefined) return;
    const policy = replay({ items: recording.choices(), policy: undefined }, header.actors);
    const watchers = [this.#comparing()];
    const stepsMax = Math.max(1, recording.steps);
    this.#run = new CheckedRun(machine, { policy, watchers, stepsMax });
  }

  /** Steps that are the same so far. */
  get steps(): number {
    const { step } = this.difference ?? {};
    return step === undefined ? (this.#run?.steps ?? 0) : Math.max(0, step);
  }

  /** Compares for about so long; says whether it goes on. */
  advance(budgetMs: number): boolean {
    if (this.#run === undefined || this.difference !== undefined) return false;
    if (this.#run.advance(budgetMs)) return this.difference === undefined;
    this.difference ??= this.#endDifference(this.#run);
    return false;
  }

  #boot(): Machine {
    const { header, path } = this.#recording;
    const source = { name: header.name, path: `${path}, its scenario`, text: header.scenario };
    const { profile, switches } = header;
    return boot(compiled(source, { profile, switches }).config);
  }

  #comparing(): Watcher {
    let window = this.#recording.decodedAt(0);
    return {
      stepClosed: (machine, actor) => {
        const step = machine.arena.position - 1;
        if (step >= window.first + window.count) window = this.#recording.decodedAt(step);
        this.difference ??= stepDifference(this.#recording, machine, { window, step, actor });
        if (machine.arena.stepsKept >= stepsKept) machine.arena.dropLog();
      },
    };
  }

  #endDifference(run: CheckedRun): Difference | undefined {
    const { steps, findings, end } = this.#recording;
    if (run.steps < steps)
      return { step: run.steps, message: `the run ends there: ${run.message}` };
    const key = (all: readonly { check: string; position: number }[]): string =>
      all.map(({ check, position }) => `${check} at ${position}`).join(', ');
    const [then, now] = [key(findings), key(run.findings)];
    if (end === undefined || then === now) return undefined;
    return { step: steps, message: `the findings were [${then}] and are [${now}]` };
  }
}

function bootDifference({ boot: then, layout }: Recording, machine: Machine) {
  const same =
    JSON.stringify(layout) === JSON.stringify(machine.layout) &&
    machine.arena.words.every((value, word) => value === then[word]);
  return same
    ? undefined
    : { step: -1, message: 'the machine is another one before the first step' };
}

interface Moment {
  readonly window: Window;
  readonly step: number;
  readonly actor: number;
}

function stepDifference(
  recording: Recording,
  { arena }: Machine,
  { window, step, actor }: Moment,
): Difference | undefined {
  const { actors } = recording.header;
  const then = window.actors[step - window.first]!;
  if (then !== actor) {
    return { step, message: `${actors[then]} took it, and now it is ${actors[actor]}` };
  }
  let k = entryAt(window, step);
  const end = entryAt(window, step + 1);
  for (
    let i = arena.startOf(arena.stepsKept - 1);
    i < arena.used;
    i += LOG_STRIDE, k += LOG_STRIDE
  ) {
    const word = arena.writes[i]!;
    if (k < end && window.writes[k] === word && window.writes[k + 2] === arena.writes[i + 2]) {
      continue;
    }
    return { step, message: `${pathOf(recording, word)} was not written so` };
  }
  if (k === end) return undefined;
  return {
    step,
    message: `${pathOf(recording, window.writes[k]!)} was written, and now it is not`,
  };
}

const pathOf = (recording: Recording, word: number): string =>
  recording.reader.leafIndex.at(word)[0]?.path ?? `word ${word}`;
