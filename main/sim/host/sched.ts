/** The scheduler of the host, as far as it moves vCPU threads. */
import { type Condition, linux, type Machine } from '../steps.ts';
import { smp_send_reschedule } from './irq.ts';

/**
 * Asks a thread to give its CPU away. It does so where it can be preempted: between two turns of
 * the vCPU, or just before it turns interrupts off to enter the guest.
 * @kvm kernel/sched/core.c
 */
export const resched_curr = linux(
  'kernel/sched/core.c',
  function* resched_curr(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('need_resched of vCPU {vcpu}', vcpu);
    target.need_resched = true;
    yield m.step('send the reschedule IPI to its CPU');
    smp_send_reschedule(m, target.cpu);
  },
);

const isOff: Condition = (m, vcpu) => m.vcpu[vcpu]!.scheduled_out;

const cpuIsFree: Condition = (m, cpu) => {
  for (const vcpu of m.vcpu) if (vcpu.cpu === cpu && !vcpu.scheduled_out) return false;
  return true;
};

/** Gives a thread that waits for it a CPU; it need not be the one that it had. */
export const set_next_task = linux(
  'kernel/sched/core.c',
  function* set_next_task(m: Machine, vcpu: number, cpu: number) {
    yield m.park('wait until the thread is off its CPU', isOff, vcpu);
    yield m.park('wait until the CPU is free', cpuIsFree, cpu);
    yield m.step('vCPU {vcpu} goes on on CPU {cpu}', vcpu, cpu);
    m.vcpu[vcpu]!.sched_cpu = cpu;
  },
);
