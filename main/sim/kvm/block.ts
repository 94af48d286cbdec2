/** A vCPU thread that does not run: halted, waiting for its start, or preempted. */
import { srcu_read_lock, srcu_read_unlock } from '../host/locks.ts';
import { isCpuFree } from '../host/sched.ts';
import { skipInstruction } from '../hw/guest_program.ts';
import { APIC_LVT_MASKED } from '../state/apicdef.ts';
import type { Program } from '../state/program.ts';
import { KVM_REQ } from '../state/requests.ts';
import { mpState, taskState } from '../state/vcpu.ts';
import { type Body, type Condition, kvm, linux, type Machine } from '../steps.ts';
import { kvm_check_request } from './check_request.ts';
import { EBUSY } from './errno.ts';
import { kvm_cpu_has_interrupt } from './irq.ts';
import { kvm_make_request, noteTaken } from './kvm_main.ts';
import { kvm_apic_accept_events } from './lapic/events.ts';
import { apic_enabled } from './lapic/priority.ts';
import {
  kvm_lapic_restart_hv_timer,
  kvm_lapic_switch_to_hv_timer,
  kvm_lapic_switch_to_sw_timer,
} from './lapic/timer.ts';
import { kvm_apic_init_sipi_allowed, kvm_set_mp_state } from './mp_state.ts';
import { vmx_interrupt_allowed, vmx_nmi_allowed, vmx_smi_allowed } from './vmx/blocked.ts';
import { vmx_check_nested_events } from './vmx/nested/events.ts';
import { vmx_get_nested_state_pages } from './vmx/nested/pages.ts';
import { vmx_has_nested_events } from './vmx/nested/posted.ts';
import { vmx_vcpu_pi_load, vmx_vcpu_pi_put } from './vmx/pi_blocking.ts';

const file = 'virt/kvm/kvm_main.c';
const x86 = 'arch/x86/kvm/x86.c';

/** Does the thread go on, and has it a CPU to do so? */
const scheduled: Condition = (m, vcpu) => {
  const { task_state, sched_cpu, preempted, cpu } = m.vcpu[vcpu]!;
  if (task_state === taskState.BLOCKED) return false;
  // A preempted thread waits for the scheduler; one that was asleep goes back where it was.
  return preempted ? sched_cpu >= 0 : isCpuFree(m, vcpu, sched_cpu >= 0 ? sched_cpu : cpu);
};

/** @kvm virt/kvm/kvm_main.c */
const kvm_sched_out = kvm(file, function* kvm_sched_out(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const running = target.task_state === taskState.RUNNING;
  yield m.step('scheduled_out; a thread that could go on is preempted');
  target.scheduled_out = true;
  if (running) target.preempted = true;
  yield* vmx_vcpu_pi_put(m, vcpu);
});

/** @kvm arch/x86/kvm/x86.c @omits clocks; the VMCLEAR of the CPU that it comes from */
export const kvm_arch_vcpu_load = kvm(
  x86,
  function* kvm_arch_vcpu_load(m: Machine, vcpu: number, cpu: number) {
    const target = m.vcpu[vcpu]!;
    const moves = target.cpu !== cpu;
    if (moves) {
      yield m.step('another CPU: make TLB_FLUSH');
      kvm_make_request(m, vcpu, KVM_REQ.TLB_FLUSH);
    }
    yield* vmx_vcpu_pi_load(m, vcpu, cpu);
    if (target.spec.in_pi_load) target.spec.in_pi_load = false;
    if (!moves) return;
    if (target.apic.lapic_timer.hv_timer_in_use) yield* kvm_lapic_restart_hv_timer(m, vcpu);
    yield m.step('make MIGRATE_TIMER');
    kvm_make_request(m, vcpu, KVM_REQ.MIGRATE_TIMER);
    yield m.step('cpu = {cpu}', cpu);
    target.cpu = cpu;
  },
);

/** @kvm virt/kvm/kvm_main.c */
const kvm_sched_in = kvm(file, function* kvm_sched_in(m: Machine, vcpu: number, cpu: number) {
  const target = m.vcpu[vcpu]!;
  yield m.step('on CPU {cpu}: not preempted any more', cpu);
  target.scheduled_out = false;
  target.spec.in_pi_load = true;
  if (target.preempted) target.preempted = false;
  yield* kvm_arch_vcpu_load(m, vcpu, cpu);
});

/**
 * The thread gives its CPU away: it sleeps if nothing has woken it since it said so, else it waits
 * for its turn. Whether it sleeps is settled before KVM hears that it leaves the CPU.
 */
const schedule = linux('kernel/sched/core.c', function* schedule(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  yield m.step('schedule(): sleep unless something woke the vCPU already');
  if (target.need_resched) target.need_resched = false;
  else if (target.task_state === taskState.RUNNING) return;
  if (target.task_state === taskState.INTERRUPTIBLE) target.task_state = taskState.BLOCKED;
  yield* kvm_sched_out(m, vcpu);
  yield m.park('asleep', scheduled, vcpu);
  const cpu = target.sched_cpu >= 0 ? target.sched_cpu : target.cpu;
  // From here on the CPU is taken, although the thread is not loaded yet.
  if (target.sched_cpu < 0) target.sched_cpu = cpu;
  yield* kvm_sched_in(m, vcpu, cpu);
  target.sched_cpu = -1;
});

/** Gives the CPU away if the scheduler asked for it. @kvm include/linux/sched.h */
export function* cond_resched(m: Machine, vcpu: number): Body<void> {
  if (m.vcpu[vcpu]!.need_resched) yield* schedule(m, vcpu);
}

/** @kvm arch/x86/kvm/lapic.c */
export const apic_has_pending_timer = (m: Machine, vcpu: number): boolean => {
  const { lvtt, lapic_timer } = m.vcpu[vcpu]!.apic;
  return apic_enabled(m, vcpu) && (lvtt & APIC_LVT_MASKED) === 0 && lapic_timer.pending > 0;
};

/** Events that KVM looks for without asking the APIC; one that has to wait (−EBUSY) is one too. */
const hasQueuedEvent = (m: Machine, vcpu: number): boolean => {
  const { apic, requests, exception_pending, nmi_pending, smi_pending } = m.vcpu[vcpu]!;
  return (
    (apic.pending_events.any() && kvm_apic_init_sipi_allowed(m, vcpu)) ||
    exception_pending ||
    requests.has(KVM_REQ.NMI) ||
    (nmi_pending > 0 && vmx_nmi_allowed(m, vcpu, false) !== 0) ||
    requests.has(KVM_REQ.SMI) ||
    (smi_pending && vmx_smi_allowed(m, vcpu) !== 0)
  );
};

/** @omits asynchronous page faults, PMIs, Hyper-V timers, Xen */
export const kvm_vcpu_has_events = kvm(
  x86,
  function* kvm_vcpu_has_events(m: Machine, vcpu: number) {
    yield m.step('INIT or SIPI, an exception, an NMI, an SMI?');
    if (hasQueuedEvent(m, vcpu)) return true;
    const allowed = vmx_interrupt_allowed(m, vcpu, false) !== 0;
    if (allowed && (yield* kvm_cpu_has_interrupt(m, vcpu))) return true;
    const ofL2: boolean =
      m.vcpu[vcpu]!.guest_mode && (yield* vmx_has_nested_events(m, vcpu, false));
    return ofL2;
  },
);

export const kvm_vcpu_running = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.mp_state === mpState.RUNNABLE;

/** Is there a reason to run the vCPU? */
const kvm_arch_vcpu_runnable = kvm(x86, function* kvm_arch_vcpu_runnable(m: Machine, vcpu: number) {
  if (kvm_vcpu_running(m, vcpu) || m.vcpu[vcpu]!.pv_unhalted) return true;
  const found: boolean = yield* kvm_vcpu_has_events(m, vcpu);
  return found;
});

const kvm_vcpu_check_block = kvm(file, function* kvm_vcpu_check_block(m: Machine, vcpu: number) {
  const { requests } = m.vcpu[vcpu]!;
  yield m.step('srcu_read_lock');
  const idx = srcu_read_lock(m);
  let reason: boolean = yield* kvm_arch_vcpu_runnable(m, vcpu);
  if (!reason) {
    yield m.step('is an expiry of the timer pending, or a signal?');
    reason = apic_has_pending_timer(m, vcpu) || m.vcpu[vcpu]!.sigpending;
  }
  if (!reason) {
    yield m.step('is UNBLOCK set? clear it');
    reason = requests.has(KVM_REQ.UNBLOCK);
    if (reason) {
      requests.clear(KVM_REQ.UNBLOCK);
      noteTaken(m, vcpu, KVM_REQ.UNBLOCK);
    }
  }
  yield m.step('srcu_read_unlock');
  srcu_read_unlock(m, idx);
  return reason;
});

/**
 * Sleeps until something wakes the vCPU and there is a reason to run.
 * @omits halt polling
 */
export const kvm_vcpu_block = kvm(file, function* kvm_vcpu_block(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  target.blocking = true;
  for (;;) {
    yield m.step('task state: INTERRUPTIBLE');
    target.task_state = taskState.INTERRUPTIBLE;
    if (yield* kvm_vcpu_check_block(m, vcpu)) break;
    yield* schedule(m, vcpu);
  }
  yield m.step('task state: RUNNING');
  target.task_state = taskState.RUNNING;
  target.blocking = false;
});

/** The vCPU sleeps, unless there is something that ends HLT at once. */
export const kvm_emulate_halt_noskip = kvm(
  x86,
  function* kvm_emulate_halt_noskip(m: Machine, vcpu: number) {
    const woken = (yield* kvm_vcpu_has_events(m, vcpu)) || m.vcpu[vcpu]!.pv_unhalted;
    yield m.step('mp_state = HALTED, or RUNNABLE if something ends HLT at once');
    kvm_set_mp_state(m, vcpu, woken ? mpState.RUNNABLE : mpState.HALTED);
    return 1;
  },
);

/** HLT of the guest. */
export const kvm_emulate_halt = kvm(
  x86,
  function* kvm_emulate_halt(m: Machine, vcpu: number, program: Program) {
    skipInstruction(m, program);
    return yield* kvm_emulate_halt_noskip(m, vcpu);
  },
);

/** Sleeps outside SRCU; the timer that counts only in the guest has to count elsewhere. */
function* sleep(m: Machine, vcpu: number): Body<void> {
  const target = m.vcpu[vcpu]!;
  const hvTimer = target.apic.lapic_timer.hv_timer_in_use;
  if (hvTimer) yield* kvm_lapic_switch_to_sw_timer(m, vcpu);
  yield m.step('srcu_read_unlock');
  srcu_read_unlock(m, target.srcu_idx);
  target.srcu_idx = -1;
  yield* kvm_vcpu_block(m, vcpu);
  yield m.step('srcu_read_lock');
  target.srcu_idx = srcu_read_lock(m);
  if (hvTimer) yield* kvm_lapic_switch_to_hv_timer(m, vcpu);
}

/** Events of a halted L2; false asks user space. */
function* checkNestedEvents(m: Machine, vcpu: number): Body<boolean> {
  const result: number = yield* vmx_check_nested_events(m, vcpu);
  if (result !== -EBUSY) return result >= 0;
  if (m.on('block-ignore-ebusy')) return true;
  m.vcpu[vcpu]!.spec.block_ebusy++;
  return false;
}

/** What wakes a restored L2 is in pages that nobody has looked up; false asks user space. */
function* getPages(m: Machine, vcpu: number): Body<boolean> {
  if (!(yield* kvm_check_request(m, vcpu, KVM_REQ.GET_NESTED_STATE_PAGES))) return true;
  return yield* vmx_get_nested_state_pages(m, vcpu);
}

/** A vCPU that does not run: sleeps, then takes what has woken it. 0 asks user space. */
export const vcpu_block = kvm(x86, function* vcpu_block(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  if (m.on('get-pages-before-block') && !(yield* getPages(m, vcpu))) return 0;
  if (!(yield* kvm_arch_vcpu_runnable(m, vcpu))) {
    yield* sleep(m, vcpu);
    // UNBLOCK or a timer: what they are for is done without a change of the state.
    if (!(yield* kvm_arch_vcpu_runnable(m, vcpu))) return 1;
  }
  if (target.guest_mode && !(yield* checkNestedEvents(m, vcpu))) return 0;
  if ((yield* kvm_apic_accept_events(m, vcpu)) < 0) return 0;
  if (target.mp_state === mpState.HALTED || target.mp_state === mpState.AP_RESET_HOLD) {
    yield m.step('mp_state = RUNNABLE');
    kvm_set_mp_state(m, vcpu, mpState.RUNNABLE);
  }
  return 1;
});
