// Work that is put off: done when it is due, and again when it was put off again.

import { expect, test } from 'vitest';
import { process_one_work } from '#sim/host/workqueue.ts';
import { type Machine, scenarioActor } from '#sim/steps.ts';
import { begin, byHand, goOn, isReady, smallMachine } from '../small_machine.ts';

const work = scenarioActor(function* countingWork(m: Machine) {
  yield m.step('the work is done');
  m.vm.ioapic.eoi_inject_due = 0;
  m.vm.ioapic.ioregsel++;
});

test('a worker waits until its work is due, each time', () => {
  const m = smallMachine();
  begin(m, 'user', () => process_one_work(m, ({ vm }) => vm.ioapic.eoi_inject_due !== 0, work));
  expect(isReady(m, 'user')).toBe(false);
  for (let times = 1; times <= 2; times++) {
    byHand(m, () => {
      m.vm.ioapic.eoi_inject_due = 1;
    });
    goOn(m, 'user');
    expect([m.vm.ioapic.ioregsel, isReady(m, 'user')]).toEqual([times, false]);
  }
});
