// User space stops all vCPUs in the middle of a run, saves them, forgets what it saved, restores it
// and lets them go on; what the guests see of it.

import { expect } from 'vitest';
import { restoreVcpu, type SavedVcpu, saveVcpu } from '#sim/acts/save_restore.ts';
import { withMutex } from '#sim/acts/user_space.ts';
import { wantsLock } from '#sim/host/locks.ts';
import type { LapicState } from '#sim/kvm/lapic/state.ts';
import { roundRobin } from '#sim/sched/policies/round_robin.ts';
import type { Policy } from '#sim/sched/policy.ts';
import { Run } from '#sim/sched/run.ts';
import { INVALID_GPA } from '#sim/state/addresses.ts';
import { APIC_IRR, APIC_ISR, APIC_PROCPRI, APIC_TASKPRI, APIC_TMR } from '#sim/state/apicdef.ts';
import type { ActorConfig } from '#sim/state/machine_config.ts';
import { NESTED_STATE_HEADER } from '#sim/state/nested_state.ts';
import type { Program } from '#sim/state/program.ts';
import { mpState } from '#sim/state/vcpu.ts';
import { vmcs12Bytes } from '#sim/state/vmcs12.ts';
import {
  type Body,
  baseOf,
  type Condition,
  type Machine,
  type Steps,
  scenarioActor,
  Thread,
} from '#sim/steps.ts';

/** What user space does while nothing moves; `nothing` is the run to compare with. */
export type Deed =
  | 'nothing'
  | 'all'
  | 'all but events'
  | 'all but lapic'
  | 'all but mp-state'
  | 'all but nested state';

const noEvents: SavedVcpu['events'] = {
  interrupt: { injected: false, nr: 0, shadow: 0 },
  nmi: { injected: false, pending: 0, masked: false },
  smi: { smm: false, pending: false, smm_inside_nmi: false, latched_init: false },
};

/** A page in which nothing is requested, in service or held back. */
const blankPage = (page: LapicState): LapicState => {
  const blank = page.slice();
  for (const register of [APIC_IRR, APIC_ISR, APIC_TMR]) {
    for (let word = 0; word < 8; word++) blank[(register >>> 2) + 4 * word] = 0;
  }
  blank[APIC_TASKPRI >>> 2] = 0;
  blank[APIC_PROCPRI >>> 2] = 0;
  return blank;
};

/** The state of a vCPU on another host, before anything is restored there. */
const blankOf = (saved: SavedVcpu): SavedVcpu => ({
  ...saved,
  mpState: mpState.RUNNABLE,
  events: noEvents,
  lapic: blankPage(saved.lapic),
});

/** What arrives if user space leaves something out. */
const carried = (saved: SavedVcpu, blank: SavedVcpu, deed: Deed): SavedVcpu => {
  switch (deed) {
    case 'all but events':
      return { ...saved, events: blank.events };
    case 'all but lapic':
      return { ...saved, lapic: blank.lapic };
    case 'all but mp-state':
      return { ...saved, mpState: blank.mpState };
    default:
      return saved;
  }
};

/** All of it; its vmcs12 is the last member. */
const wordsOfNestedState = (m: Machine, vcpu: number): Uint32Array => {
  const { user_nested_state: state } = m.vcpu[vcpu]!;
  const base = baseOf(state);
  const words = new Uint32Array(baseOf(state.vmcs12) - base + vmcs12Bytes / 4);
  for (let i = 0; i < words.length; i++) words[i] = m.arena.load(base + i);
  return words;
};

const setNestedState = (m: Machine, vcpu: number, words: Uint32Array): void => {
  const base = baseOf(m.vcpu[vcpu]!.user_nested_state);
  for (const [i, word] of words.entries()) m.arena.store(base + i, word);
};

/** What KVM_GET_NESTED_STATE gives of a vCPU that is not in VMX operation. */
const blankNestedState = (m: Machine, vcpu: number): void => {
  const state = m.vcpu[vcpu]!.user_nested_state;
  state.flags.clearAll();
  state.smm_flags.clearAll();
  state.size = NESTED_STATE_HEADER;
  state.vmxon_pa = INVALID_GPA;
  state.vmcs12_pa = INVALID_GPA;
};

const arriving = ['dev', 'iommu', 'user1'];

/** Whoever sends interrupts, or changes what vCPUs are, stands between two things that it does. */
const nobodySends: Condition = (m) =>
  m.threads.every(({ name, index }) => !arriving.includes(name) || m.actor[index]!.depth <= 1);

function* restore(m: Machine, vcpu: number, state: SavedVcpu): Body<void> {
  const error: number = yield* restoreVcpu(m, vcpu, state);
  expect(error).toBe(0);
}

/** What to do, and what to look at first. */
interface Act {
  readonly deed: Deed;
  readonly stopped: () => void;
}

const moveVcpus = scenarioActor(function* moveVcpus(m: Machine, { deed, stopped }: Act) {
  yield m.park('all vCPUs are stopped, and nobody sends', nobodySends);
  stopped();
  if (deed === 'nothing') return;
  const saved: SavedVcpu[] = [];
  for (const { index } of m.vcpu) {
    const one: SavedVcpu | undefined = yield* saveVcpu(m, index);
    saved.push(one!);
  }
  for (const [index, one] of saved.entries()) {
    const blank = blankOf(one);
    const nestedState = wordsOfNestedState(m, index);
    blankNestedState(m, index);
    yield* restore(m, index, blank);
    if (deed !== 'all but nested state') setNestedState(m, index, nestedState);
    yield* restore(m, index, carried(one, blank, deed));
  }
});

/** Takes the mutex of every vCPU, one inside the other. */
const stopFrom: (m: Machine, act: Act, from: number) => Steps<void> = scenarioActor(
  function* stopAll(m: Machine, act: Act, from: number): Body<void> {
    if (from === m.vcpu.length) yield* moveVcpus(m, act);
    else yield* withMutex(m, from, () => stopFrom(m, act, from + 1));
  },
);

const saver = 'user2';
/** What is on its stack while the vCPUs are stopped. */
const moving = 'moveVcpus';

const actorNamed = (m: Machine, name: string): Thread => m.threads.find((t) => t.name === name)!;

/** Whoever sends interrupts finishes what it does, and begins nothing else. */
const quiescing = (): Policy => {
  const turn = roundRobin();
  const some = { actors: new Uint8Array(32), count: 0 };
  return {
    ended: { why: 'schedule-end', message: 'all is done' },
    choose(m, { actors, count }) {
      if (actorNamed(m, saver).done) return -1;
      some.count = 0;
      for (let i = 0; i < count; i++) {
        const { name, calls } = m.threads[actors[i]!]!;
        if (!arriving.includes(name) || calls.length > 1) some.actors[some.count++] = actors[i]!;
      }
      return some.count === 0 ? -1 : turn.choose(m, some);
    },
  };
};

/** Who is first in this list goes on as long as it can. */
const ranks = ['irq', 'sched', 'vcpu', ...arriving];
const rankOf = (name: string): number => ranks.findIndex((start) => name.startsWith(start));

const inOrder: Policy = {
  ended: undefined,
  choose(m, { actors, count }) {
    let first = actors[0]!;
    for (let i = 1; i < count; i++) {
      const [one, other] = [m.threads[actors[i]!]!.name, m.threads[first]!.name];
      if (rankOf(one) < rankOf(other)) first = actors[i]!;
    }
    return first;
  },
};

/** What the level of guest that runs executes. */
const programOf = (m: Machine, vcpu: number): Program => {
  const { program, l2 } = m.config.actors[vcpu]!;
  return m.vcpu[vcpu]!.guest_mode ? l2! : program;
};

/**
 * Each place that a guest comes to, with how many interrupts it has had, and what it has read: that
 * stays in its register where a pause follows.
 */
class Sight {
  readonly lines: string[][];
  readonly #last: string[];

  constructor(m: Machine) {
    this.lines = m.vcpu.map(() => []);
    this.#last = m.vcpu.map(() => '');
  }

  stepClosed(m: Machine): void {
    // The registers change while user space restores them, and nobody sees it.
    const isMoved = actorNamed(m, saver).calls.some(({ info }) => info.name === moving);
    for (const { index, guest } of isMoved ? [] : m.vcpu) {
      const level = m.vcpu[index]!.guest_mode ? 'L2 ' : '';
      const place = `${level}${m.actor[index]!.pc} ${guest.delivered_count}`;
      if (place === this.#last[index]) continue;
      this.#last[index] = place;
      const { delivered, delivered_count: count } = guest;
      const vector = count === 0 ? 0 : delivered[(count - 1) % delivered.length]!.vector;
      const rests = programOf(m, index)[m.actor[index]!.pc]?.op === 'pause';
      this.lines[index]!.push(`at ${place}: ${vector}${rests ? `, read ${guest.value}` : ''}`);
    }
    m.arena.dropLog();
  }
}

const stepsMax = 20_000;

/** The plan of a run: its machine, with the actors `extra` besides its own, and who goes when. */
export interface Movable {
  machine(extra: readonly ActorConfig[]): Machine;
  policy(): Policy;
  /** can the guests tell, for a reason that is known? Asked where all of them are stopped */
  isExcused?(m: Machine): boolean;
}

/** What the guests see; undefined if the plan has ended before they were stopped, or is excused. */
export const sightOf = (plan: Movable, position: number, deed: Deed): string[][] | undefined => {
  const m = plan.machine([{ name: saver, kind: 'user', index: 2, program: [] }]);
  const sight = new Sight(m);
  const go = (policy: Policy, steps: number): Run => {
    const run = new Run(m, { policy, watchers: [sight], stepsMax, wantsLock });
    run.advance(steps);
    return run;
  };
  if (go(plan.policy(), position).halt !== undefined) return undefined;
  const { index } = actorNamed(m, saver);
  let excused = false;
  const stopped = (): void => {
    excused = plan.isExcused?.(m) === true;
  };
  m.threads[index] = new Thread(index, saver, stopFrom(m, { deed, stopped }, 0));
  m.actor[index]!.depth = 1;
  m.resume(index);
  m.arena.closeStep();
  go(quiescing(), stepsMax);
  expect(m.threads[index].done).toBe(true);
  const { halt } = go(inOrder, stepsMax);
  expect(halt).toBe('quiet');
  return excused ? undefined : sight.lines;
};
