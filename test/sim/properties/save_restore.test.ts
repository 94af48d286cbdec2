// User space stops all vCPUs in the middle of a run, saves them, forgets what it saved, restores it
// and lets them go on: the guests see what they would have seen.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { restoreVcpu, type SavedVcpu, saveVcpu } from '#sim/acts/save_restore.ts';
import { withMutex } from '#sim/acts/user_space.ts';
import { wantsLock } from '#sim/host/locks.ts';
import type { LapicState } from '#sim/kvm/lapic/state.ts';
import { roundRobin } from '#sim/sched/policies/round_robin.ts';
import type { Policy } from '#sim/sched/policy.ts';
import { Run } from '#sim/sched/run.ts';
import { APIC_IRR, APIC_ISR, APIC_PROCPRI, APIC_TASKPRI, APIC_TMR } from '#sim/state/apicdef.ts';
import { profileOf } from '#sim/state/switches.ts';
import { mpState } from '#sim/state/vcpu.ts';
import {
  type Body,
  type Condition,
  type Machine,
  type Steps,
  scenarioActor,
  Thread,
} from '#sim/steps.ts';
import { eras, machineOf, type Plan, planWithin, policyOf, type Switches } from './plan.ts';

/** What user space does while nothing moves; `nothing` is the run to compare with. */
type Deed = 'nothing' | 'all' | 'all but events' | 'all but lapic' | 'all but mp-state';

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

const arriving = ['dev', 'iommu', 'user1'];

/** Whoever sends interrupts, or changes what vCPUs are, stands between two things that it does. */
const nobodySends: Condition = (m) =>
  m.threads.every(({ name, index }) => !arriving.includes(name) || m.actor[index]!.depth <= 1);

const moveVcpus = scenarioActor(function* moveVcpus(m: Machine, deed: Deed) {
  yield m.park('all vCPUs are stopped, and nobody sends', nobodySends);
  if (deed === 'nothing') return;
  const saved: SavedVcpu[] = [];
  for (const { index } of m.vcpu) {
    const one: SavedVcpu | undefined = yield* saveVcpu(m, index);
    saved.push(one!);
  }
  for (const [index, one] of saved.entries()) {
    const blank = blankOf(one);
    yield* restoreVcpu(m, index, blank);
    yield* restoreVcpu(m, index, carried(one, blank, deed));
  }
});

/** Takes the mutex of every vCPU, one inside the other. */
const stopFrom: (m: Machine, deed: Deed, from: number) => Steps<void> = scenarioActor(
  function* stopAll(m: Machine, deed: Deed, from: number): Body<void> {
    if (from === m.vcpu.length) yield* moveVcpus(m, deed);
    else yield* withMutex(m, from, () => stopFrom(m, deed, from + 1));
  },
);

const saver = 'user2';

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
    for (const { index, guest } of m.vcpu) {
      const place = `${m.actor[index]!.pc} ${guest.delivered_count}`;
      if (place === this.#last[index]) continue;
      this.#last[index] = place;
      const { delivered, delivered_count: count } = guest;
      const vector = count === 0 ? 0 : delivered[(count - 1) % delivered.length]!.vector;
      const rests = m.config.actors[index]!.program[m.actor[index]!.pc]?.op === 'pause';
      this.lines[index]!.push(`at ${place}: ${vector}${rests ? `, read ${guest.value}` : ''}`);
    }
    m.arena.dropLog();
  }
}

const stepsMax = 20_000;

/** What the guests see; undefined if the plan has ended before they were stopped. */
const sightOf = (
  plan: Plan,
  position: number,
  deed: Deed,
  switches: Switches = {},
): string[][] | undefined => {
  const extra = [{ name: saver, kind: 'user', index: 2, program: [] } as const];
  const m = machineOf(plan, { extra, switches });
  const sight = new Sight(m);
  const go = (policy: Policy, steps: number): Run => {
    const run = new Run(m, { policy, watchers: [sight], stepsMax, wantsLock });
    run.advance(steps);
    return run;
  };
  if (go(policyOf(plan), position).halt !== undefined) return undefined;
  const { index } = actorNamed(m, saver);
  m.threads[index] = new Thread(index, saver, stopFrom(m, deed, 0));
  m.actor[index]!.depth = 1;
  m.resume(index);
  m.arena.closeStep();
  go(quiescing(), stepsMax);
  expect(m.threads[index].done).toBe(true);
  const { halt } = go(inOrder, stepsMax);
  expect(halt).toBe('quiet');
  return sight.lines;
};

const positions = fc.integer({ min: 20, max: 500 });

/**
 * Before `svi-on-activation` SVI is stale when APICv comes back, and the next EOI is lost;
 * KVM_SET_LAPIC writes it (kvm_apic_set_state, kvm_apic_update_apicv), so that a guest gains
 * interrupts by being restored.
 */
const inhibitsOf = (profile: string): number =>
  profileOf(profile)!.switches['svi-on-activation'] === 'on' ? 1 : 0;

/**
 * A thread that is outside KVM_RUN keeps its CPU: nobody is moved there, who then could not stop.
 * Each thread that is preempted goes on where it was.
 */
const plansOf = (profile: string): fc.Arbitrary<Plan> =>
  planWithin({ profiles: [profile], inhibitsMost: inhibitsOf(profile) }).map((plan) => ({
    ...plan,
    moves: plan.moves.map(({ vcpu }) => ({ vcpu, cpu: vcpu })),
  }));

test.each(eras)('%s: guests cannot tell that they were saved and restored', (profile, switches) => {
  let stopped = 0;
  fc.assert(
    fc.property(plansOf(profile), positions, (plan, position) => {
      const expected = sightOf(plan, position, 'nothing', switches);
      if (expected === undefined) return;
      stopped++;
      expect(sightOf(plan, position, 'all', switches)).toEqual(expected);
    }),
    { numRuns: 250, seed: 1 },
  );
  expect(stopped).toBeGreaterThan(100);
});

test.each(['all but events', 'all but lapic', 'all but mp-state'] as const)(
  'they can if user space restores %s',
  (deed) => {
    let seen = false;
    fc.assert(
      fc.property(plansOf('k7.0'), positions, (plan, position) => {
        const expected = seen ? undefined : sightOf(plan, position, 'nothing');
        if (expected === undefined) return;
        const sight = sightOf(plan, position, deed);
        seen = JSON.stringify(sight) !== JSON.stringify(expected);
      }),
      { numRuns: 1000, seed: 1 },
    );
    expect(seen).toBe(true);
  },
);
