/** Locks whose holders are part of the machine. */
import { counter, record, s32 } from '../arena/fields.ts';

export const RwLock = record('rwlock', 'a reader-writer lock', {
  writer: s32('the actor that holds it for writing plus 1, 0 for none'),
  readers: counter('actors that hold it for reading'),
});
