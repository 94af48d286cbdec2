// The scheduler of the host: a CPU has one thread at a time, also while one is on its way to it.

import { expect, test } from 'vitest';
import { resched_curr, set_next_task } from '#sim/host/sched.ts';
import { begin, complete, goOn, goTo, isReady, smallMachine, takeStep } from '../small_machine.ts';

/** Both vCPUs were preempted, and neither has a CPU. */
const preempted = () => {
  const m = smallMachine({ vcpus: 2 });
  for (const vcpu of [0, 1]) {
    complete(m, 'user', () => resched_curr(m, vcpu));
    goTo(m, `vcpu${vcpu}`, 'schedule', 'asleep');
  }
  return m;
};

test('a CPU that a thread was given is not given to another', () => {
  const m = preempted();
  complete(m, 'user', () => set_next_task(m, 1, 1));
  const second = begin(m, 'user', () => set_next_task(m, 0, 1));
  goOn(m, 'user');
  expect([second.done, isReady(m, 'vcpu0'), isReady(m, 'vcpu1')]).toEqual([false, false, true]);
  // It is taken while the thread is on its way, and when it is there.
  for (let step = 0; m.vcpu[1]!.scheduled_out || m.vcpu[1]!.sched_cpu >= 0; step++) {
    expect([step < 20, isReady(m, 'user')]).toEqual([true, false]);
    takeStep(m, 'vcpu1');
  }
  expect(isReady(m, 'user')).toBe(false);
});

test('the CPU is free again when its thread has left it', () => {
  const m = preempted();
  complete(m, 'user', () => set_next_task(m, 1, 1));
  goOn(m, 'vcpu1');
  const second = begin(m, 'user', () => set_next_task(m, 0, 1));
  goOn(m, 'user');
  // vCPU 1 has come to the end of its program and sleeps.
  expect([second.done, m.vcpu[0]!.sched_cpu]).toEqual([true, 1]);
  goOn(m, 'vcpu0');
  expect([m.vcpu[0]!.cpu, m.vcpu[0]!.sched_cpu]).toEqual([1, -1]);
});
