/** The processor: stores that wait reach memory, sooner or later. */
import { type Condition, type Machine, sdm } from '../steps.ts';

const storeWaits: Condition = (m, actor) => m.actor[actor]!.stores > 0;

/** Makes the stores of an actor visible, one by one and in their order, whenever it is chosen. */
export const drainStoreBuffer = sdm('9.2', function* drainStoreBuffer(m: Machine, actor: number) {
  for (;;) {
    yield m.park('the oldest store reaches memory', storeWaits, actor);
    m.drainOldest(actor);
  }
});
