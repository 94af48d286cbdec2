/** High-resolution timers: the APIC timer of each vCPU has one, and an actor that fires it. */
import { type Condition, linux, type Machine, type Steps } from '../steps.ts';

const file = 'kernel/time/hrtimer.c';

const timerOf = (m: Machine, vcpu: number): Machine['vcpu'][number]['apic']['lapic_timer'] =>
  m.vcpu[vcpu]!.apic.lapic_timer;

/** Arms the timer for an absolute time, whether or not it was armed. @kvm kernel/time/hrtimer.c */
export const hrtimer_start = (m: Machine, vcpu: number, expires: number): void => {
  const timer = timerOf(m, vcpu);
  timer.expires = expires;
  timer.armed = true;
};

const callbackDone: Condition = (m, vcpu) => !timerOf(m, vcpu).running;

/** Disarms the timer, after its callback if that runs; says whether it was armed. */
export const hrtimer_cancel = linux(file, function* hrtimer_cancel(m: Machine, vcpu: number) {
  yield m.park('no callback runs: take the timer out of the queue', callbackDone, vcpu);
  const timer = timerOf(m, vcpu);
  const { armed } = timer;
  if (armed) timer.armed = false;
  return armed;
});

/** What a timer calls; true lets it run again at `expires`. */
export type TimerCallback = (m: Machine, vcpu: number) => Steps<boolean>;

const due: Condition = (m, vcpu) => timerOf(m, vcpu).armed && timerOf(m, vcpu).expires <= m.vm.now;

/** Fires the timer of a vCPU once, when the clock has come so far. */
export const __run_hrtimer = linux(
  file,
  function* __run_hrtimer(m: Machine, vcpu: number, callback: TimerCallback) {
    const timer = timerOf(m, vcpu);
    yield m.park('the timer is due: take it out of the queue', due, vcpu);
    timer.armed = false;
    timer.running = true;
    const restart: boolean = yield* callback(m, vcpu);
    yield m.step('the callback is done; a timer that restarts is queued again');
    // Whoever started the timer meanwhile has the last word.
    if (restart && !timer.armed) timer.armed = true;
    timer.running = false;
  },
);

/** The actor of a vCPU's timer. */
export const hrtimer_interrupt = linux(
  file,
  function* hrtimer_interrupt(m: Machine, vcpu: number, callback: TimerCallback) {
    for (;;) yield* __run_hrtimer(m, vcpu, callback);
  },
);
