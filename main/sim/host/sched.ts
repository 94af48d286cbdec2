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

/**
 * Has no other thread the CPU: is on it, or is about to be? One that was given it while it slept
 * has to wait for it like everybody else.
 */
export const isCpuFree = (m: Machine, vcpu: number, cpu: number): boolean => {
  for (const { index, cpu: loaded, scheduled_out, sched_cpu, task_state } of m.vcpu) {
    if (index === vcpu) continue;
    if (loaded === cpu && !scheduled_out) return false;
    if (sched_cpu === cpu && task_state !== taskState.BLOCKED) return false;
  }
  return true;
};

const vcpuOf = (pair: number): number => pair >>> 8;
const cpuOf = (pair: number): number => pair & 0xff;

/** The thread is off, not on its way to a CPU already, and the one that it shall get is free. */
const canBeGiven: Condition = (m, pair) => {
  const { scheduled_out, sched_cpu, task_state } = m.vcpu[vcpuOf(pair)]!;
  const waits = scheduled_out && (sched_cpu < 0 || task_state === taskState.BLOCKED);
  return waits && isCpuFree(m, vcpuOf(pair), cpuOf(pair));
};

/** Gives a thread that waits for it a CPU; it need not be the one that it had. */
export const set_next_task = linux(
  'kernel/sched/core.c',
  function* set_next_task(m: Machine, vcpu: number, cpu: number) {
    yield m.step('vCPU {vcpu} is to go on on CPU {cpu}', vcpu, cpu);
    yield m.park('the thread is off its CPU, and this one is free', canBeGiven, (vcpu << 8) | cpu);
    m.vcpu[vcpu]!.sched_cpu = cpu;
  },
);
