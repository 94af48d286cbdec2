/** Signals: how one thread of user space takes another out of KVM_RUN. */
import { taskState } from '../state/vcpu.ts';
import { linux, type Machine } from '../steps.ts';
import { smp_send_reschedule } from './irq.ts';

/** The thread of a vCPU gets a signal: awake, or interrupted, it finds that one is pending. */
export const send_signal_locked = linux(
  'kernel/signal.c',
  function* send_signal_locked(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('TIF_SIGPENDING of vCPU {vcpu}; a thread that sleeps is woken', vcpu);
    target.sigpending = true;
    if (target.task_state !== taskState.RUNNING) target.task_state = taskState.RUNNING;
    if (target.scheduled_out) return;
    yield m.step('send the reschedule IPI to its CPU');
    smp_send_reschedule(m, target.cpu);
  },
);
