/** A run: a machine, what chooses its next step, and what watches it. */
import { limits } from '../state/limits.ts';
import { type Machine, MachineLimit } from '../steps.ts';
import { CycleFinder } from './livelock.ts';
import type { Policy, Ready } from './policy.ts';
import { type ScheduleItem, scheduleText } from './schedule.ts';

/** Why a run ended. */
export const halts = [
  /** every actor has ended or waits for what nobody will do, and no lock is wanted */
  'quiet',
  /** the same, but an actor waits for a lock */
  'deadlock',
  /** the same states again and again, whoever acts */
  'livelock',
  'steps-max',
  'schedule-end',
  /** an explicit schedule named an actor that could not take a step */
  'not-ready',
  /** the machine of the scenario is too small for what it does */
  'limit',
  'cancelled',
] as const;
export type Halt = (typeof halts)[number];

/** What is called with each closed step; the step's writes are the last kept ones of the arena. */
export interface Watcher {
  /** after step `position − 1` of `actor` was closed */
  stepClosed(machine: Machine, actor: number): void;
  /** once, when the run has ended */
  runEnded?(machine: Machine, halt: Halt): void;
}

export interface RunOptions {
  readonly policy: Policy;
  readonly watchers?: readonly Watcher[];
  /** steps after which the run ends; `limits.steps` unless given */
  readonly stepsMax?: number;
  /** Is the waiting actor wanting a lock? Tells a deadlock from quiet. */
  readonly wantsLock?: (machine: Machine, actor: number) => boolean;
  /** ends the run where it goes round in circles */
  readonly findCycles?: boolean;
}

export class Run {
  readonly machine: Machine;
  readonly stepsMax: number;
  halt: Halt | undefined;
  /** why the policy ended the run, in a sentence */
  message = '';

  readonly #policy: Policy;
  readonly #watchers: readonly Watcher[];
  readonly #wantsLock: (machine: Machine, actor: number) => boolean;
  readonly #ready: Ready;
  readonly #cycles: CycleFinder | undefined;
  /** the schedule so far, run-length encoded: actor, count, actor, count … */
  #choices = new Uint32Array(1024);
  #choicesUsed = 0;

  constructor(machine: Machine, options: RunOptions) {
    this.machine = machine;
    this.#policy = options.policy;
    this.#watchers = options.watchers ?? [];
    this.stepsMax = options.stepsMax ?? limits.steps;
    this.#wantsLock = options.wantsLock ?? (() => false);
    this.#cycles = options.findCycles === true ? new CycleFinder(machine) : undefined;
    this.#ready = { actors: new Uint8Array(machine.threads.length), count: 0 };
  }

  /** Takes up to `steps` steps; returns how many it took. Fewer means that the run has ended. */
  advance(steps: number): number {
    let taken = 0;
    while (taken < steps && this.halt === undefined && this.#stepOnce()) taken++;
    return taken;
  }

  /** Ends the run from outside. */
  cancel(): void {
    if (this.halt === undefined) this.#end('cancelled', 'the run was cancelled');
  }

  /** The choices made so far, as an explicit schedule. */
  choices(): ScheduleItem[] {
    const items: ScheduleItem[] = [];
    for (let i = 0; i < this.#choicesUsed; i += 2) {
      items.push({
        actor: this.machine.threads[this.#choices[i]!]!.name,
        count: this.#choices[i + 1]!,
      });
    }
    return items;
  }

  scheduleText(): string {
    return scheduleText({ items: this.choices(), policy: undefined });
  }

  #stepOnce(): boolean {
    const { machine } = this;
    const ready = this.#ready;
    const { actors } = ready;
    const { threads } = machine;
    let found = 0;
    // As Machine.ready, here where it is asked of every actor before every step.
    for (let i = 0; i < threads.length; i++) {
      const thread = threads[i]!;
      if (thread.done) continue;
      const { waitsFor } = thread;
      if (waitsFor === undefined || waitsFor(machine, thread.waitsForArgument)) actors[found++] = i;
    }
    ready.count = found;
    if (ready.count === 0) return this.#nobodyReady();
    if (machine.arena.position >= this.stepsMax) {
      return this.#end('steps-max', `the run reached its bound of ${this.stepsMax} steps`);
    }
    const actor = this.#policy.choose(machine, ready);
    if (actor < 0) {
      const ended = this.#policy.ended;
      return this.#end(ended?.why ?? 'schedule-end', ended?.message ?? '');
    }
    try {
      machine.resume(actor);
    } catch (error) {
      if (!(error instanceof MachineLimit)) throw error;
      machine.arena.closeStep();
      return this.#end('limit', error.message);
    }
    machine.arena.closeStep();
    this.#remember(actor);
    // Watchers may forget the log of the step.
    const cycle = this.#cycles === undefined ? 0 : this.#cycles.stepClosed(machine, actor, ready);
    for (const watcher of this.#watchers) watcher.stepClosed(machine, actor);
    return cycle === 0 || this.#livelocked(cycle);
  }

  #livelocked(steps: number): false {
    const { position } = this.machine.arena;
    const where = `positions ${position - steps} and ${position}`;
    return this.#end(
      'livelock',
      `the machine goes round in circles: it is the same at ${where}, whoever acts`,
    );
  }

  #nobodyReady(): boolean {
    const { machine } = this;
    const stuck = machine.threads.find((t) => !t.done && this.#wantsLock(machine, t.index));
    return stuck === undefined
      ? this.#end('quiet', 'no actor can take a step')
      : this.#end('deadlock', `${stuck.name} waits for a lock that nobody will release`);
  }

  #end(halt: Halt, message: string): false {
    this.halt = halt;
    this.message = message;
    for (const watcher of this.#watchers) watcher.runEnded?.(this.machine, halt);
    return false;
  }

  #remember(actor: number): void {
    const used = this.#choicesUsed;
    if (used > 0 && this.#choices[used - 2] === actor) {
      this.#choices[used - 1]!++;
      return;
    }
    if (used === this.#choices.length) {
      const next = new Uint32Array(used * 2);
      next.set(this.#choices);
      this.#choices = next;
    }
    this.#choices[used] = actor;
    this.#choices[used + 1] = 1;
    this.#choicesUsed = used + 2;
  }
}
