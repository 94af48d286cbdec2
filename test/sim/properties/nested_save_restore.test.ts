// The same as `save_restore.test.ts` where guests have guests: neither L1 nor L2 can tell.

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { secondaryOn } from '#sim/hw/vmcs.ts';
import { mpState } from '#sim/state/vcpu.ts';
import { secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { type Movable, sightOf } from './moving.ts';
import {
  entriesMost,
  isPosted,
  type NestedPlan,
  nestedMachine,
  nestedPlan,
} from './nested_plan.ts';
import { burstsOf, type Switches } from './plan.ts';

/** What is lost for real: a notification that KVM has taken and not processed yet (R39). */
const moved: Switches = { 'migrate-pi-pending': 'on' };

/**
 * With `migrate-pi-pending` a restored L2 gets what its descriptor has, notified or not. L2 gains
 * an interrupt where the notification is still to come, or came before L2 was entered.
 */
const hasUnnotified = (m: Machine): boolean =>
  m.vcpu.some(({ guest_mode, nested }) => guest_mode && !nested.pi_pending && isPosted(m));

/**
 * A restored L2 has no pages before it is entered. If it is halted, nobody looks for what its APIC
 * gets: GET_NESTED_STATE_PAGES waits for the entry, and vmx_has_nested_events, which could bring
 * that about, finds no page ("KVM: x86: Get vmcs12 pages before checking pending interrupts",
 * posted in 2020 and 2022).
 */
const sleepsWithoutPages = (m: Machine): boolean =>
  m.vcpu.some(
    ({ guest_mode, mp_state, nested }) =>
      guest_mode &&
      mp_state === mpState.HALTED &&
      secondaryOn(nested.cached_vmcs12, secondaryControl.VIRTUAL_INTR_DELIVERY),
  );

// Work is bounded by steps and runs; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

type Excuse = (m: Machine) => boolean;

const movableOf = (plan: NestedPlan, switches: Switches, excuses: readonly Excuse[]): Movable => ({
  machine: (extra) => nestedMachine(plan, { extra, switches }),
  policy: () => burstsOf(plan),
  isExcused: (m) => excuses.some((excuse) => excuse(m)),
});

const positions = fc.integer({ min: 20, max: 3000 });

test.each(['k6.6', 'k6.13', 'k6.19', 'k7.0', 'gpc-v1', 'gpc-v4'])(
  '%s: a hypervisor and its guest cannot tell that they were saved and restored',
  (profile) => {
    let stopped = 0;
    fc.assert(
      fc.property(nestedPlan([profile]), positions, (plan, position) => {
        const movable = movableOf(plan, moved, [hasUnnotified, sleepsWithoutPages]);
        const expected = sightOf(movable, position, 'nothing');
        if (expected === undefined) return;
        stopped++;
        expect(sightOf(movable, position, 'all')).toEqual(expected);
      }),
      { numRuns: 100, seed: 1 },
    );
    expect(stopped).toBeGreaterThan(40);
  },
);

/** Is there a plan, and a moment, at which the guests see a difference that is not excused? */
const isSeen = (
  plans: fc.Arbitrary<NestedPlan>,
  deed: 'all' | 'all but nested state',
  switches: Switches,
  excuses: readonly Excuse[],
  runs = 1000,
): boolean => {
  let seen = false;
  const { failed, errorInstance } = fc.check(
    fc.property(plans, positions, (plan, position) => {
      const movable = movableOf(plan, switches, excuses);
      const expected = sightOf(movable, position, 'nothing');
      if (expected === undefined) return true;
      seen = JSON.stringify(sightOf(movable, position, deed)) !== JSON.stringify(expected);
      return !seen;
    }),
    { numRuns: runs, seed: 1, endOnFailure: true },
  );
  if (failed && !seen) throw errorInstance;
  return seen;
};

const newest = nestedPlan(['k7.0']);

/** L2 is entered again and again, and gets what L1 posts; it never halts before it is through. */
const busy = newest.map((plan): NestedPlan => {
  const l2 = Array.from({ length: entriesMost }, () => ({ do: 'vmcall' as const }));
  return { ...plan, apic: 'all', interrupts: true, l2, messages: [] };
});

test('they can where pi_pending is lost, as in every kernel (R39)', () => {
  expect(isSeen(busy, 'all', {}, [sleepsWithoutPages])).toBe(true);
});

test('with migrate-pi-pending they cannot', () => {
  expect(isSeen(busy, 'all', moved, [hasUnnotified, sleepsWithoutPages], 150)).toBe(false);
});

test('they can where a halted L2 has no pages yet', () => {
  expect(isSeen(newest, 'all', moved, [hasUnnotified])).toBe(true);
});

test('they can if user space leaves the nested state out', () => {
  const excuses = [hasUnnotified, sleepsWithoutPages];
  expect(isSeen(newest, 'all but nested state', moved, excuses)).toBe(true);
});
