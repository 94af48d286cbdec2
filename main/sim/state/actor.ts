/** Actors: what acts by itself. Their call stacks are part of the machine. */
import { array, counter, oneOf, record, s32, u32 } from '../arena/fields.ts';
import { limits } from './limits.ts';
import { BufferedStore } from './store_buffer.ts';

export const actorState = { READY: 0, PARKED: 1, DONE: 2 } as const;

/** A program, its interrupt handler, its SMI handler: each has loops of its own. */
export const programParts = 3;

/** Who executes on the processor: the host kernel, the guest, the guest's guest. */
export const level = { L0: 0, L1: 1, L2: 2 } as const;

export const Local = record('local', 'a value that a function holds across a step', {
  value: u32('a CPU register of the actor: it may be stale'),
});

export const StackFrame = record('stack_frame', 'one called function', {
  site: u32({ as: 'site' }, 'the function, and the step that it stands before or calls from'),
  local: array(Local, limits.locals, 'values named in the label of the step'),
});

export const LoopCounter = record('loop_counter', 'one `repeat` of a program', {
  left: counter('rounds still to go'),
});

export const Actor = record('actor', 'what acts by itself', {
  state: oneOf(
    actorState,
    'whether the actor can take a step, waits for a condition, or has ended',
  ),
  errno: s32(
    'what its last ioctl gave: 0, or the error, negated; of a vCPU: KVM_RUN, once it has failed',
  ),
  level: oneOf(level, 'who executes: L0 is the host kernel, L1 the guest, L2 a nested guest'),
  pc: counter('next instruction of the program of the actor, or of its guest'),
  counter: array(
    LoopCounter,
    2 * limits.loopNesting * programParts,
    'the loops of the program, then those of its interrupt handler, and of its SMI handler; then of L2',
  ),
  stores: counter('stores in the store buffer of the thread'),
  store_buffer: array(BufferedStore, limits.storeBuffer, 'the store buffer, the oldest first'),
  depth: counter('called functions on the stack'),
  stack: array(StackFrame, limits.stackDepth, 'the call stack, outermost first'),
});
