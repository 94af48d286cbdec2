/** Interrupts of the physical CPUs: IPIs, and when the host takes them. */

import {
  POSTED_INTR_NESTED_VECTOR,
  POSTED_INTR_VECTOR,
  POSTED_INTR_WAKEUP_VECTOR,
} from '../state/pi_desc.ts';
import { hostVector } from '../state/vcpu.ts';
import { type Body, linux, type Machine } from '../steps.ts';

/** @kvm arch/x86/include/asm/irq_vectors.h */
const CALL_FUNCTION_VECTOR = 0xfc;

/** Is an interrupt waiting for this CPU? */
export const interruptPending = (m: Machine, cpu: number): boolean =>
  m.cpu[cpu]!.pending.word(0) !== 0;

/** The wake-up vector has a handler that takes steps of its own: the interrupt context runs it. */
const inSteps = 1 << hostVector.POSTED_INTR_WAKEUP;

const runCallQueue = (m: Machine, cpu: number): void => {
  if (m.cpu[cpu]!.call_queue.word(0) !== 0) m.cpu[cpu]!.call_queue.setWord(0, 0);
};

/** To take an interrupt drains the store buffer of the CPU, whose vCPU thread it interrupts. */
const drainStoresOf = (m: Machine, cpu: number): void => {
  for (const { cpu: loaded, index } of m.vcpu) if (loaded === cpu) m.drainStores(index);
};

/**
 * Runs the handlers of everything that is pending. They do nothing but acknowledge: what an IPI
 * is for is that the CPU leaves the guest.
 * @kvm arch/x86/kernel/smp.c
 */
export const takeInterrupts = (m: Machine, cpu: number): void => {
  const { pending, vectors } = m.cpu[cpu]!;
  if (m.storesWait) drainStoresOf(m, cpu);
  pending.setWord(0, pending.word(0) & inSteps);
  if (vectors.any()) vectors.clearAll();
  runCallQueue(m, cpu);
};

/** The same for one vector, which a VM exit has acknowledged. */
export const handleVector = (m: Machine, cpu: number, vector: number): void => {
  if (vector === CALL_FUNCTION_VECTOR) runCallQueue(m, cpu);
  if (vector === POSTED_INTR_WAKEUP_VECTOR) m.cpu[cpu]!.pending.set(hostVector.POSTED_INTR_WAKEUP);
};

/** Sends a reschedule IPI, for whose handler nobody waits. @kvm arch/x86/kernel/smp.c */
export const smp_send_reschedule = (m: Machine, cpu: number): void => {
  m.drainStores();
  m.cpu[cpu]!.ipis++;
  m.cpu[cpu]!.pending.set(hostVector.RESCHEDULE);
};

const notifications: Readonly<Record<number, number>> = {
  [POSTED_INTR_VECTOR]: hostVector.POSTED_INTR,
  [POSTED_INTR_WAKEUP_VECTOR]: hostVector.POSTED_INTR_WAKEUP,
  [POSTED_INTR_NESTED_VECTOR]: hostVector.POSTED_INTR_NESTED,
};

/**
 * Sends one of the posted-interrupt notification vectors. The write of the ICR is fenced, or
 * uncached: earlier stores are visible before it.
 * @kvm arch/x86/kernel/apic/apic.c
 */
export const smp_send_notification = (m: Machine, cpu: number, vector: number): void => {
  m.drainStores();
  m.cpu[cpu]!.ipis++;
  m.cpu[cpu]!.pending.set(notifications[vector]!);
};

const cpuOf = (target: number): number => target & 0xff;
const senderOf = (target: number): number => target >>> 8;

/** Waits until the handler of the call that `senderOf(target)` queued has run on the CPU. */
const acked = (m: Machine, target: number): boolean =>
  !m.cpu[cpuOf(target)]!.call_queue.has(senderOf(target));

/**
 * Sends the call-function IPI of an empty function to the CPUs of `mask`, and waits for each if
 * `wait`: when it returns, every one of them has taken an interrupt in root mode.
 * @kvm kernel/smp.c
 */
export const smp_call_function_many = linux(
  'kernel/smp.c',
  function* smp_call_function_many(m: Machine, mask: number, wait: boolean) {
    const sender = m.current;
    for (let cpu = 0; cpu < m.cpu.length; cpu++) {
      if ((mask & (1 << cpu)) === 0) continue;
      yield m.step('send the call-function IPI to CPU {cpu}', cpu);
      m.cpu[cpu]!.call_queue.set(sender);
      m.cpu[cpu]!.ipis++;
      m.cpu[cpu]!.pending.set(hostVector.CALL_FUNCTION);
    }
    if (!wait) return;
    m.vm.stat.wait_stalls++;
    for (let cpu = 0; cpu < m.cpu.length; cpu++) {
      if ((mask & (1 << cpu)) === 0) continue;
      yield m.park('wait until the target has run the handler', acked, cpu | (sender << 8));
    }
  },
);

const canTakeInterrupt = (m: Machine, cpu: number): boolean =>
  m.cpu[cpu]!.irqs_on && interruptPending(m, cpu);

/** What KVM has registered for the wake-up vector. */
function* runRegistered(m: Machine, cpu: number): Body<void> {
  const handler = m.interruptHandlers.get(hostVector.POSTED_INTR_WAKEUP);
  if (!m.cpu[cpu]!.pending.clear(hostVector.POSTED_INTR_WAKEUP) || handler === undefined) return;
  yield* handler(m, cpu);
}

/** The interrupt context of a physical CPU: runs whenever interrupts are on and one is pending. */
export const hostInterrupts = linux(
  'arch/x86/kernel/smp.c',
  function* hostInterrupts(m: Machine, cpu: number) {
    for (;;) {
      yield m.park('run the handlers of the pending interrupts', canTakeInterrupt, cpu);
      takeInterrupts(m, cpu);
      yield* runRegistered(m, cpu);
    }
  },
);

/**
 * Interrupts of the vCPU's own CPU go on: whatever is pending is taken at once.
 * @kvm include/linux/irqflags.h
 */
export const local_irq_enable = (m: Machine, cpu: number): void => {
  m.cpu[cpu]!.irqs_on = true;
  if (m.cpu[cpu]!.pending.word(0) !== 0) takeInterrupts(m, cpu);
};

/** @kvm include/linux/irqflags.h */
export const local_irq_disable = (m: Machine, cpu: number): void => {
  m.cpu[cpu]!.irqs_on = false;
};
