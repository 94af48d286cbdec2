/** What goes into the store buffer of a thread, what comes out of it, and what the thread reads. */
import type { MachineView } from './state/machine.ts';
import { KVM_REQ } from './state/requests.ts';
import { type Buffered, buffered } from './state/store_buffer.ts';

type StoringMachine = Pick<MachineView, 'vcpu' | 'actor'>;

type Write = (m: StoringMachine, vcpu: number, value: number) => void;

const writes: Readonly<Record<Buffered, Write>> = {
  [buffered.MODE]: (m, vcpu, value) => {
    m.vcpu[vcpu]!.mode = value;
  },
  [buffered.PI_PENDING]: (m, vcpu, value) => {
    m.vcpu[vcpu]!.nested.pi_pending = value === 1;
  },
  [buffered.EVENT]: (m, vcpu) => {
    const { requests, spec } = m.vcpu[vcpu]!;
    requests.set(KVM_REQ.EVENT);
    spec.request[KVM_REQ.EVENT]!.published++;
  },
};

/** The current thread has stored; its buffer has room for that, or its oldest store gives way. */
export const bufferStore = (
  m: StoringMachine,
  actor: number,
  store: { what: Buffered; vcpu: number; value: number },
): void => {
  const thread = m.actor[actor]!;
  if (thread.stores === thread.store_buffer.length) drainOldest(m, actor);
  const free = thread.store_buffer[thread.stores]!;
  free.what = store.what;
  free.vcpu = store.vcpu;
  free.value = store.value;
  thread.stores++;
};

/** The oldest store of a thread reaches memory. */
export const drainOldest = (m: StoringMachine, actor: number): void => {
  const thread = m.actor[actor]!;
  const { what, vcpu, value } = thread.store_buffer[0]!;
  writes[what as Buffered](m, vcpu, value);
  thread.stores--;
  for (let i = 0; i < thread.stores; i++) {
    const next = thread.store_buffer[i + 1]!;
    const one = thread.store_buffer[i]!;
    one.what = next.what;
    one.vcpu = next.vcpu;
    one.value = next.value;
  }
  thread.store_buffer[thread.stores]!.what = buffered.NOTHING;
};

/** What the thread itself reads: the newest of its own stores, −1 if memory has it. */
export const forwarded = (
  m: StoringMachine,
  actor: number,
  what: Buffered,
  vcpu: number,
): number => {
  const { stores, store_buffer: buffer } = m.actor[actor]!;
  for (let i = stores - 1; i >= 0; i--) {
    if (buffer[i]!.what === what && buffer[i]!.vcpu === vcpu) return buffer[i]!.value;
  }
  return -1;
};
