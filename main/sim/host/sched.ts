/** The scheduler of the host, as far as it moves vCPU threads. */
import { taskState } from '../state/vcpu.ts';
import { type Condition, linux, type Machine } from '../steps.ts';
import { smp_send_reschedule } from './irq.ts';

/** A thread that was given a CPU comes to it before anything else is asked of it. */
const isSettled: Condition = (m, vcpu) => {
  const { scheduled_out, task_state } = m.vcpu[vcpu]!;
  return !scheduled_out || task_state === taskState.BLOCKED;
};

/**
 * Asks a thread to give its CPU away. It does so where it can be preempted: between two turns of
 * the vCPU, or just before it turns interrupts off to enter the guest.
 * @kvm kernel/sched/core.c
 */
export const resched_curr = linux(
  'kernel/sched/core.c',
  function* resched_curr(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    yield m.park('wait until the thread is on its CPU, or asleep', isSettled, vcpu);
    if (target.scheduled_out) return;
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
