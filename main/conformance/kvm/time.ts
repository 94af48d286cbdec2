// Time in a case: moves only when the case says so, and timers fire on their way.

import type { JsonObject } from '../adapter.ts';
import type { KvmBench } from './bench.ts';
import { done, need } from './functions.ts';
import { numberOf } from './words.ts';

/** The next hrtimer that is due until `end`, −1 for none. */
const nextTimer = ({ m }: KvmBench, end: number): number => {
  let next = -1;
  for (const { index, apic } of m.vcpu) {
    const { armed, expires } = apic.lapic_timer;
    if (!armed || expires > end) continue;
    if (next < 0 || expires < m.vcpu[next]!.apic.lapic_timer.expires) next = index;
  }
  return next;
};

/** A periodic timer that fires without end is a fault of the model, not a long case. */
const expiriesMax = 100_000;

/** Lets the time pass; each timer fires when it is due. */
export function advanceTime(bench: KvmBench, op: JsonObject): void {
  const { m, user } = bench;
  const end = m.vm.now + numberOf(op['ns']);
  let vcpu = nextTimer(bench, end);
  for (let expiries = 0; vcpu >= 0; expiries++) {
    if (expiries > expiriesMax) throw new Error('the timer fires without end');
    const { expires } = m.vcpu[vcpu]!.apic.lapic_timer;
    if (expires > m.vm.now) m.vm.now = expires;
    done(m, user, need('__run_hrtimer')(m, vcpu));
    vcpu = nextTimer(bench, end);
  }
  m.vm.now = end;
}

/** What the vCPUs do on their way into the guest. */
export function injectTimers({ m }: KvmBench): void {
  for (const { index, apic } of m.vcpu) {
    if (apic.lapic_timer.pending === 0) continue;
    done(m, index, need('kvm_inject_apic_timer_irqs')(m, index));
  }
}

/** Takes and ends the vector that the last step said is serviced. */
export function service(bench: KvmBench): void {
  const { m, toService } = bench;
  if (toService < 0) return;
  bench.toService = -1;
  done(m, 0, need('kvm_apic_ack_interrupt')(m, 0, toService));
  done(m, 0, need('kvm_lapic_set_eoi')(m, 0));
}
