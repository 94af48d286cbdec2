/** High-resolution timers: each vCPU has some, and an actor that fires them. */
import { type Condition, linux, type Machine, type Steps } from '../steps.ts';

const file = 'kernel/time/hrtimer.c';

/** The timers of a vCPU: that of its APIC, and the one that counts for the guest of its guest. */
export const hostTimer = { APIC: 0, PREEMPTION: 1 } as const;

type TimerView = Pick<
  Machine['vcpu'][number]['apic']['lapic_timer'],
  'armed' | 'running' | 'expires'
>;

const timerOf = (m: Machine, vcpu: number, which: number): TimerView => {
  const { apic, nested } = m.vcpu[vcpu]!;
  return which === hostTimer.APIC ? apic.lapic_timer : nested.preemption_timer;
};

/** Arms the timer for an absolute time, whether or not it was armed. @kvm kernel/time/hrtimer.c */
export const hrtimer_start = (
  m: Machine,
  vcpu: number,
  expires: number,
  which: number = hostTimer.APIC,
): void => {
  const timer = timerOf(m, vcpu, which);
  timer.expires = expires;
  timer.armed = true;
};

/** A vCPU and a number in the argument of a condition. */
const pair = (vcpu: number, number: number): number => vcpu | (number << 8);

const callbackDone: Condition = (m, timer) => !timerOf(m, timer & 0xff, timer >>> 8).running;

/** Disarms the timer, after its callback if that runs; says whether it was armed. */
export const hrtimer_cancel = linux(
  file,
  function* hrtimer_cancel(m: Machine, vcpu: number, which: number = hostTimer.APIC) {
    yield m.park(
      'no callback runs: take the timer out of the queue',
      callbackDone,
      pair(vcpu, which),
    );
    const timer = timerOf(m, vcpu, which);
    const { armed } = timer;
    if (armed) timer.armed = false;
    return armed;
  },
);

/** What a timer calls; true lets it run again at `expires`. */
export type TimerCallback = (m: Machine, vcpu: number) => Steps<boolean>;

/** The first timer of the vCPU whose time has come, of the first `count`; −1 for none. */
const dueTimer = (m: Machine, vcpu: number, count: number): number => {
  for (let which = 0; which < count; which++) {
    const { armed, expires } = timerOf(m, vcpu, which);
    if (armed && expires <= m.vm.now) return which;
  }
  return -1;
};

const due: Condition = (m, timers) => dueTimer(m, timers & 0xff, timers >>> 8) >= 0;

/** Fires one timer of a vCPU, when the clock has come so far. Callbacks are by `hostTimer`. */
export const __run_hrtimer = linux(
  file,
  function* __run_hrtimer(m: Machine, vcpu: number, callbacks: readonly TimerCallback[]) {
    yield m.park('the timer is due: take it out of the queue', due, pair(vcpu, callbacks.length));
    const which = dueTimer(m, vcpu, callbacks.length);
    const timer = timerOf(m, vcpu, which);
    timer.armed = false;
    timer.running = true;
    const restart: boolean = yield* callbacks[which]!(m, vcpu);
    yield m.step('the callback is done; a timer that restarts is queued again');
    // Whoever started the timer meanwhile has the last word.
    if (restart && !timer.armed) timer.armed = true;
    timer.running = false;
  },
);

/** The actor of a vCPU's timers. */
export const hrtimer_interrupt = linux(
  file,
  function* hrtimer_interrupt(m: Machine, vcpu: number, callbacks: readonly TimerCallback[]) {
    for (;;) yield* __run_hrtimer(m, vcpu, callbacks);
  },
);
