/**
 * Store buffers: what a thread has stored and others cannot see yet. An x86 CPU lets a read pass
 * earlier stores, and nothing else: stores become visible in the order of the program. What is
 * locked, a full barrier, and an interrupt empty the buffer. A write barrier is none of these: on
 * x86 it is for the compiler alone. Where one is off, the model exchanges the two steps.
 */
import { counter, oneOf, record } from '../arena/fields.ts';

/** What a store that waits will write. */
export const buffered = { NOTHING: 0, MODE: 1, PI_PENDING: 2, EVENT: 3 } as const;
export type Buffered = Exclude<(typeof buffered)[keyof typeof buffered], 0>;

export const BufferedStore = record('buffered_store', 'a store that others cannot see yet', {
  what: oneOf(buffered, 'what it writes: mode, nested.pi_pending, or EVENT in requests'),
  vcpu: counter('the vCPU whose field that is'),
  value: counter('the value, of a flag 0 or 1'),
});

/** Is a barrier off without which stores wait? Else no machine has anything in a store buffer. */
export const storesWaitWith = (
  switches: Readonly<Record<string, string>>,
  nested: boolean,
): boolean => switches['mode-store-mb'] === 'off' || (nested && switches['nested-pi-mb'] === 'off');
