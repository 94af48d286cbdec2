/**
 * A machine that is being run under all checks.
 * Whoever runs it decides how long a slice is.
 */
import type { Finding } from '#sim/checks/check.ts';
import { CheckEngine } from '#sim/checks/engine.ts';
import { checks } from '#sim/checks/index.ts';
import { wantsLock } from '#sim/host/locks.ts';
import type { Policy } from '#sim/sched/policy.ts';
import { type Halt, Run, type Watcher } from '#sim/sched/run.ts';
import { limits } from '#sim/state/limits.ts';
import { type Machine, siteOf } from '#sim/steps.ts';

/** A finding with the words that a person reads: who broke it, at which step of which function. */
export interface NamedFinding extends Finding {
  readonly actorName: string;
  readonly function: string;
  readonly label: string;
}

export interface CheckedRunOptions {
  readonly policy: Policy;
  /** the list that findings are appended to, before the watchers are called */
  readonly findings?: NamedFinding[];
  /** they see each step after the checks did; one of them forgets the arena's log in time */
  readonly watchers?: readonly Watcher[];
  readonly stepsMax?: number;
}

/** Steps between two looks at the clock: some hundred microseconds. */
const stepsAtOnce = 512;
/** Steps whose log is kept if nobody records them. */
const stepsKept = 4096;

export class CheckedRun {
  readonly machine: Machine;
  readonly findings: NamedFinding[];
  /** time that `advance` took so far */
  milliseconds = 0;

  readonly #run: Run;
  readonly #engine: CheckEngine;
  /** site of the step that was chosen last: after the step the stack has moved on */
  #site = 0;

  constructor(machine: Machine, options: CheckedRunOptions) {
    this.machine = machine;
    this.findings = options.findings ?? [];
    this.#engine = new CheckEngine(machine.view, machine.layout, checks);
    this.#run = new Run(machine, {
      policy: this.#noting(options.policy),
      watchers: [this.#checking(), ...(options.watchers ?? [{ stepClosed: forgetLog }])],
      stepsMax: options.stepsMax ?? limits.steps,
      wantsLock,
      findCycles: true,
    });
  }

  get steps(): number {
    return this.machine.arena.position;
  }

  get stepsMax(): number {
    return this.#run.stepsMax;
  }

  /** Why the run ended; undefined while it goes on. */
  get halt(): Halt | undefined {
    return this.#run.halt;
  }

  /** The same in a sentence. */
  get message(): string {
    return this.#run.message;
  }

  /** Runs for about so long; says whether the run goes on. */
  advance(budgetMs: number): boolean {
    const start = performance.now();
    let now = start;
    while (this.halt === undefined && now - start < budgetMs) {
      this.#run.advance(stepsAtOnce);
      now = performance.now();
    }
    this.milliseconds += now - start;
    return this.halt === undefined;
  }

  /** Ends the run where it stands; what was recorded so far is whole. */
  cancel(): void {
    this.#run.cancel();
  }

  /** The choices that were made, as a schedule that makes them again. */
  choicesText(): string {
    return this.#run.scheduleText();
  }

  stepsPerSecond(): number {
    return this.milliseconds === 0 ? 0 : Math.round((this.steps / this.milliseconds) * 1000);
  }

  #noting(policy: Policy): Policy {
    return {
      get ended() {
        return policy.ended;
      },
      choose: (machine, ready) => {
        const actor = policy.choose(machine, ready);
        if (actor >= 0) this.#site = machine.siteBefore(actor);
        return actor;
      },
    };
  }

  #checking(): Watcher {
    let last = 0;
    const log = { writes: new Uint32Array(0), start: 0, end: 0 };
    return {
      stepClosed: ({ arena }, actor) => {
        last = actor;
        log.writes = arena.writes;
        log.start = arena.startOf(arena.stepsKept - 1);
        log.end = arena.used;
        this.#engine.stepClosed(log, arena.position - 1, actor);
        if (this.#engine.findings.length > this.findings.length) this.#nameFindings();
      },
      runEnded: ({ arena }, halt) => {
        if (halt !== 'quiet' && halt !== 'deadlock') return;
        this.#engine.quiet(Math.max(0, arena.position - 1), last);
        this.#nameFindings();
      },
    };
  }

  #nameFindings(): void {
    const site = siteOf(this.#site);
    for (const finding of this.#engine.findings.slice(this.findings.length)) {
      this.findings.push({
        ...finding,
        actorName: this.machine.threads[finding.actor]?.name ?? '',
        function: site?.function ?? '',
        label: site?.label ?? '',
      });
    }
  }
}

const forgetLog = ({ arena }: Machine): void => {
  if (arena.stepsKept >= stepsKept) arena.dropLog();
};
