// Signals: a thread that sleeps is woken, one that runs is interrupted, one without a CPU is not.

import { expect, test } from 'vitest';
import { send_signal_locked } from '#sim/host/signal.ts';
import { hostVector, taskState } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, complete, smallMachine } from '../small_machine.ts';

/** What a signal does to a thread in this state: is one pending, its state, was its CPU told? */
const signalled = (change: (vcpu: Machine['vcpu'][number]) => void): unknown[] => {
  const m = smallMachine();
  byHand(m, () => change(m.vcpu[0]!));
  complete(m, 'user', () => send_signal_locked(m, 0));
  const { sigpending, task_state } = m.vcpu[0]!;
  return [sigpending, task_state, m.cpu[0]!.pending.has(hostVector.RESCHEDULE)];
};

test('a running thread is interrupted, and a sleeping one is woken', () => {
  const { RUNNING } = taskState;
  expect(signalled(() => undefined)).toEqual([true, RUNNING, true]);
  const asleep = (vcpu: Machine['vcpu'][number]): void => {
    vcpu.task_state = taskState.BLOCKED;
    vcpu.scheduled_out = true;
  };
  expect(signalled(asleep)).toEqual([true, RUNNING, false]);
});
