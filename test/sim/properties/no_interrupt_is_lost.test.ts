// Whatever guests, devices and the scheduler do, and in whatever order: an interrupt that an APIC
// accepted is delivered once, or pending still for a reason, when nobody can move any more.

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { kvmExit } from '#sim/state/vcpu.ts';
import { eras, lowersTprInService, type Plan, planWithin, type Switches } from './plan.ts';
import { endOf } from './rest.ts';

// Work is bounded by steps and runs; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const holds = (plans: fc.Arbitrary<Plan>, numRuns: number, switches: Switches = {}): void => {
  const sum = { accepted: 0, merged: 0, delivered: 0 };
  fc.assert(
    fc.property(plans, (plan) => {
      const { wrong, totals } = endOf(plan, switches);
      expect(wrong).toEqual([]);
      for (const key of ['accepted', 'merged', 'delivered'] as const) sum[key] += totals[key];
    }),
    { numRuns, seed: 1 },
  );
  // The plans are worth running: they deliver, and vectors meet.
  expect(sum.delivered).toBeGreaterThan(2 * numRuns);
  expect(sum.merged).toBeGreaterThan(numRuns / 8);
};

test.each(eras)('%s delivers each accepted interrupt once', (profile, switches) => {
  holds(planWithin({ profiles: [profile] }), 700, switches);
});

/**
 * Before k6.6 a change of APICv could overtake a sender that had looked at it; before k6.19 SVI was
 * stale when APICv came back, and the next EOI got lost.
 */
test.each(eras.slice(2))('%s does so while APICv comes and goes', (profile, switches) => {
  const plans = planWithin({ profiles: [profile], inhibitsMost: 2 });
  holds(plans, 500, { ...switches, 'svi-on-activation': 'on' });
});

/** What goes wrong under the first plan under which something does; nothing if none is found. */
const caught = (switches: Switches, plans: fc.Arbitrary<Plan>): readonly string[] => {
  const isRight = (plan: Plan): boolean => endOf(plan, switches).wrong.length === 0;
  const { counterexample } = fc.check(fc.property(plans, isRight), {
    numRuns: 3000,
    seed: 1,
    endOnFailure: true,
  });
  return counterexample === null ? [] : endOf(counterexample[0], switches).wrong;
};

test.each([
  'pir-sync-after-mode',
  'pir-before-on',
  'on-before-ipi',
  'clear-on-before-harvest',
  'sn-clear-recompute-on',
  'empty-pir-scans-irr',
  'final-request-check',
  'irq-off-before-mode',
  'fastpath-recheck',
] as const)('without %s an interrupt gets stuck', (id) => {
  const wrong = caught({ [id]: 'off' }, planWithin({ profiles: ['k7.0'] }));
  expect(wrong.join()).toMatch(/rests, and nobody tells it of vector/);
});

test('without svi-on-activation an EOI is lost when APICv comes back', () => {
  const plans = planWithin({ profiles: ['k7.0'], inhibitsMost: 2 });
  expect(caught({ 'svi-on-activation': 'off' }, plans).join()).toMatch(/an EOI was lost/);
});

const tooLow = [
  ['xAPIC', 'the run reached its bound of 10000 steps'],
  ['x2APIC', `vCPU 0: KVM_RUN fails, exit ${kvmExit.FAIL_ENTRY}`],
] as const;

test.each(tooLow)(
  '%s without APICv: a TPR that drops in service is left below the threshold',
  (mode, end) => {
    const pauses = Array.from({ length: 20 }, () => ({ do: 'pause' }) as const);
    const sends = { do: 'ipi', to: 0, vector: 0x31 } as const;
    const plan: Plan = {
      profile: 'k7.0',
      apicv: false,
      x2apic: mode === 'x2APIC',
      hltExits: false,
      guests: [
        [...pauses, { do: 'tpr', class: 15 }, ...pauses, ...pauses, { do: 'tpr', class: 0 }],
        [sends, ...pauses, sends],
      ],
      handler: 'none',
      messages: [],
      posts: [],
      moves: [],
      inhibits: 0,
      bursts: false,
      seed: 0,
    };
    expect(lowersTprInService(plan)).toBe(true);
    const seeds = Array.from({ length: 60 }, (_, seed) => seed);
    const endsOf = (handler: Plan['handler']): string[] =>
      seeds.map((seed) => endOf({ ...plan, handler, seed }).wrong.join());
    // It needs the second request between the two writes of the TPR.
    const kinds = [...new Set(endsOf('none'))].sort();
    expect(kinds).toEqual(['', end]);
    expect([...new Set(endsOf('usual'))]).toEqual(['']);
  },
);
