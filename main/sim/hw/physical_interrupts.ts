/** Interrupts that reach a physical CPU: which vectors wait in its own APIC. */

import {
  POSTED_INTR_NESTED_VECTOR,
  POSTED_INTR_VECTOR,
  POSTED_INTR_WAKEUP_VECTOR,
} from '../state/pi_desc.ts';
import { hostVector } from '../state/vcpu.ts';
import type { Machine } from '../steps.ts';

type HostVector = Exclude<keyof typeof hostVector, 'DEVICE'>;

/** The vectors that the host uses itself. @kvm arch/x86/include/asm/irq_vectors.h */
const vectorsOfHost: Readonly<Record<HostVector, number>> = {
  RESCHEDULE: 0xfd,
  CALL_FUNCTION: 0xfc,
  POSTED_INTR: POSTED_INTR_VECTOR,
  POSTED_INTR_WAKEUP: POSTED_INTR_WAKEUP_VECTOR,
  POSTED_INTR_NESTED: POSTED_INTR_NESTED_VECTOR,
};

/** The bits of cpu.pending with their vectors, the highest priority first. */
const byPriority = (Object.keys(vectorsOfHost) as HostVector[])
  .map((name) => ({ bit: hostVector[name], vector: vectorsOfHost[name] }))
  .sort((a, b) => b.vector - a.vector);

export const isInterruptPending = (m: Machine, cpu: number): boolean =>
  m.cpu[cpu]!.pending.word(0) !== 0;

/** The vector that the CPU's APIC would give to an acknowledgement; −1 for none. */
export const highestPendingVector = (m: Machine, cpu: number): number => {
  const { pending, vectors } = m.cpu[cpu]!;
  const ofDevice = pending.has(hostVector.DEVICE) ? vectors.highest() : -1;
  for (const { bit, vector } of byPriority) {
    if (vector < ofDevice) return ofDevice;
    if (pending.has(bit)) return vector;
  }
  return ofDevice;
};

const bitOf = (vector: number): number =>
  byPriority.find((one) => one.vector === vector)?.bit ?? hostVector.DEVICE;

/** A vector arrives at the CPU's APIC. */
export const raiseVector = (m: Machine, cpu: number, vector: number): void => {
  const { pending, vectors } = m.cpu[cpu]!;
  const bit = bitOf(vector);
  if (bit === hostVector.DEVICE) vectors.set(vector);
  pending.set(bit);
};

/** The CPU takes the vector: its APIC does not offer it again. */
export const acknowledgeVector = (m: Machine, cpu: number, vector: number): void => {
  const { pending, vectors } = m.cpu[cpu]!;
  const bit = bitOf(vector);
  if (bit === hostVector.DEVICE) {
    vectors.clear(vector);
    if (vectors.any()) return;
  }
  pending.clear(bit);
};
