// A run followed along the rows of a trace of the reference.

import { goToPosition, type RunOfTest } from '../sim/scenario_run.ts';

/** Goes through a run from mark to mark, each behind the one before. */
export class Trace<S> {
  readonly run: RunOfTest;
  /** the number of the step that was found last */
  at = -1;
  readonly #state: (machine: RunOfTest['machine']) => S;
  readonly #steps: ReturnType<RunOfTest['steps']>;

  constructor(run: RunOfTest, state: (machine: RunOfTest['machine']) => S) {
    this.run = run;
    this.#state = state;
    this.#steps = run.steps();
  }

  /** The state after the next step of the actor in the function whose label contains the text. */
  after(actor: string, name: string, label = ''): S {
    for (let step = this.at + 1; step < this.#steps.length; step++) {
      const one = this.#steps[step]!;
      if (one.actor !== actor || one.function !== name || !one.label.includes(label)) continue;
      this.at = step;
      goToPosition(this.run, step + 1);
      return this.#state(this.run.machine);
    }
    throw new Error(`after step ${this.at} there is no step ${actor} ${name} "${label}"`);
  }

  /** The state that the run ends with. */
  end(): S {
    goToPosition(this.run, this.#steps.length);
    return this.#state(this.run.machine);
  }

  /** The checks that broke in the step that was found last. */
  findings(): string[] {
    return this.run.findings.filter(({ step }) => step === this.at).map(({ check }) => check);
  }
}

/** The checks that broke, in their order. */
export const broken = ({ findings }: RunOfTest): string[] => findings.map(({ check }) => check);
