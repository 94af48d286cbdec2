// A plan run until nobody can move, and what is wrong then.

import { wantsLock } from '#sim/host/locks.ts';
import { Run } from '#sim/sched/run.ts';
import { Ledger } from './ledger.ts';
import { machineOf, type Plan, policyOf, type Switches } from './plan.ts';

/** No plan needs half of them. */
const stepsMax = 10_000;

export interface Rest {
  /** nothing, if each interrupt that was accepted was delivered once, or is pending for a reason */
  readonly wrong: readonly string[];
  readonly totals: ReturnType<Ledger['totals']>;
}

export const endOf = (plan: Plan, switches: Switches = {}): Rest => {
  const m = machineOf(plan, { switches });
  const ledger = new Ledger(m, plan.handler !== 'none');
  const run = new Run(m, {
    policy: ledger.noting(policyOf(plan)),
    watchers: [ledger],
    stepsMax,
    wantsLock,
  });
  run.advance(Number.POSITIVE_INFINITY);
  return {
    wrong: run.halt === 'quiet' ? ledger.atRest(m) : [run.message],
    totals: ledger.totals(),
  };
};
