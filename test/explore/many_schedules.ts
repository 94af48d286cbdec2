// Many schedules of one scenario under all checks. To index what the checks read takes ten times as
// long as a short run: the engine is made once, and looks at the machine of each run in its turn.

import { viewOf } from '#sim/arena/views.ts';
import { boot } from '#sim/boot.ts';
import { CheckEngine } from '#sim/checks/engine.ts';
import { checks } from '#sim/checks/index.ts';
import { wantsLock } from '#sim/host/locks.ts';
import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { random, randomSource } from '#sim/sched/policies/random.ts';
import { isReady, type Policy } from '#sim/sched/policy.ts';
import { Run } from '#sim/sched/run.ts';
import type { MachineView } from '#sim/state/machine.ts';
import type { Machine } from '#sim/steps.ts';
import { stepsMaxOfTests } from '../sim/scenario_run.ts';

export interface Outcome {
  /** `check at position` */
  readonly findings: readonly string[];
  readonly halt: string | undefined;
}

const longestStretch = 40;

/** Each actor chosen goes on for a stretch of random length: few switches, as on real CPUs. */
export const inStretches = (seed: number): Policy => {
  const next = randomSource(seed);
  let actor = -1;
  let left = 0;
  return {
    ended: undefined,
    choose: (_, ready) => {
      if (left === 0 || !isReady(ready, actor)) {
        actor = ready.actors[next(ready.count)]!;
        left = 1 + next(longestStretch);
      }
      left--;
      return actor;
    },
  };
};

/** A view of whatever machine `now` gives: all booted from one configuration look the same. */
const viewOfNow = (now: () => MachineView): MachineView =>
  new Proxy({} as MachineView, { get: (_, name) => Reflect.get(now(), name) });

export class ManySchedules {
  readonly #scenario: CompiledScenario;
  readonly #policyOf: (seed: number) => Policy;
  #engine: CheckEngine | undefined;
  #view: MachineView | undefined;

  constructor(scenario: CompiledScenario, policyOf: (seed: number) => Policy = random) {
    this.#scenario = scenario;
    this.#policyOf = policyOf;
  }

  run(seed: number): Outcome {
    const machine = boot(this.#scenario.config);
    this.#view = viewOf<MachineView>(machine.arena, machine.layout);
    this.#engine ??= this.#newEngine(machine);
    const engine = this.#engine;
    const run = new Run(machine, {
      policy: this.#policyOf(seed),
      watchers: [this.#checking(engine)],
      stepsMax: stepsMaxOfTests,
      wantsLock,
    });
    run.advance(Number.POSITIVE_INFINITY);
    const findings = engine.findings.map(({ check, position }) => `${check} at ${position}`);
    // What is broken now would not be told again: the next run needs another engine.
    if (findings.length > 0) this.#engine = undefined;
    return { findings, halt: run.halt };
  }

  #newEngine(machine: Machine): CheckEngine {
    return new CheckEngine(
      viewOfNow(() => this.#view!),
      machine.layout,
      checks,
    );
  }

  #checking(engine: CheckEngine) {
    let last = 0;
    return {
      stepClosed: ({ arena }: Machine, actor: number) => {
        last = actor;
        const start = arena.startOf(arena.stepsKept - 1);
        engine.stepClosed(
          { writes: arena.writes, start, end: arena.used },
          arena.position - 1,
          actor,
        );
      },
      runEnded: ({ arena }: Machine, halt: string) => {
        if (halt === 'quiet' || halt === 'deadlock') {
          engine.quiet(Math.max(0, arena.position - 1), last);
        }
      },
    };
  }
}
