// User space stops all vCPUs in the middle of a run, saves them, forgets what it saved, restores it
// and lets them go on: the guests see what they would have seen.

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { profileOf } from '#sim/state/switches.ts';
import { type Movable, sightOf } from './moving.ts';
import { eras, machineOf, type Plan, planWithin, policyOf, type Switches } from './plan.ts';

// Work is bounded by steps and runs; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const movableOf = (plan: Plan, switches: Switches = {}): Movable => ({
  machine: (extra) => machineOf(plan, { extra, switches }),
  policy: () => policyOf(plan),
});

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
      const movable = movableOf(plan, switches);
      const expected = sightOf(movable, position, 'nothing');
      if (expected === undefined) return;
      stopped++;
      expect(sightOf(movable, position, 'all')).toEqual(expected);
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
        const movable = movableOf(plan);
        const expected = seen ? undefined : sightOf(movable, position, 'nothing');
        if (expected === undefined) return;
        const sight = sightOf(movable, position, deed);
        seen = JSON.stringify(sight) !== JSON.stringify(expected);
      }),
      { numRuns: 1000, seed: 1 },
    );
    expect(seen).toBe(true);
  },
);
