/** Work that is put off: a kernel thread does it when its time has come. */
import { type Condition, linux, type Machine, type Steps } from '../steps.ts';

/** Does a work item whenever it is due; taking it off the queue is the first thing that it does. */
export const process_one_work = linux(
  'kernel/workqueue.c',
  function* process_one_work(m: Machine, isDue: Condition, work: (m: Machine) => Steps<void>) {
    for (;;) {
      yield m.park('the delayed work is due', isDue);
      yield* work(m);
    }
  },
);
