/** The life of a vCPU thread: requests, entry into the guest, exits. */

import {
  handleVector,
  local_irq_disable,
  local_irq_enable,
  smp_send_reschedule,
} from '../host/irq.ts';
import { srcu_read_lock, srcu_read_unlock } from '../host/locks.ts';
import { vmEntry } from '../hw/vm_entry.ts';
import { currentVmcs } from '../hw/vmcs.ts';
import type { Program } from '../state/program.ts';
import { KVM_REQ } from '../state/requests.ts';
import { buffered } from '../state/store_buffer.ts';
import { kvmExit, mpState, vcpuMode } from '../state/vcpu.ts';
import { exitReason, INTR_INFO_VALID } from '../state/vmcs.ts';
import { type Body, type Condition, kvm, type Machine } from '../steps.ts';
import { apic_has_pending_timer, cond_resched, kvm_vcpu_running, vcpu_block } from './block.ts';
import { kvm_check_request } from './check_request.ts';
import { complete_emulated_mmio } from './emulate.ts';
import { vmx_handle_exit } from './exits.ts';
import { fastpath, vmx_exit_handlers_fastpath } from './fastpath.ts';
import {
  enableIrqWindow,
  kvm_check_and_inject_events,
  vmx_cancel_injection,
  vmx_complete_interrupts,
} from './inject.ts';
import { requestsWindow, saveReadiness, windowIsOpen } from './irq_window.ts';
import { kvm_make_request, kvm_request_pending, noteTaken, setMode } from './kvm_main.ts';
import { kvm_apic_accept_events } from './lapic/events.ts';
import { apic_enabled } from './lapic/priority.ts';
import { kvm_inject_apic_timer_irqs, kvm_wait_lapic_expire } from './lapic/timer_expiry.ts';
import { update_cr8_intercept } from './lapic/tpr.ts';
import { kvm_lapic_sync_from_vapic, kvm_lapic_sync_to_vapic } from './lapic/vapic.ts';
import { activeMmu, kvm_mmu_load } from './mmu/mmu.ts';
import { handleRequests } from './requests.ts';
import { notifyTd } from './tdx.ts';
import { vmx_update_hv_timer } from './vmx/hv_timer.ts';
import { usesCaches } from './vmx/nested/caches.ts';
import { nested_sync_vmcs12_to_shadow } from './vmx/nested/evmcs.ts';
import { vmx_is_nested_state_invalid } from './vmx/nested/pages.ts';
import { syncsPir, vmx_sync_pir_to_irr } from './vmx/posted_intr.ts';

const file = 'arch/x86/kvm/x86.c';

/** What a turn of the vCPU says: the next turn, or back to user space. */
const AGAIN = 1;
const USER_SPACE = 0;

/** What the preparation of an entry says. */
const prepared = { USER_SPACE: 0, AGAIN: 1, ENTER: 2, ENTER_AND_EXIT: 3 } as const;

/**
 * Has vmcs02 the address of a page that L1's memory no longer has there? Then the pages are got
 * again.
 * @kvm arch/x86/kvm/x86.c (series)
 */
function* kvm_invalid_nested_state(m: Machine, vcpu: number): Body<boolean> {
  const target = m.vcpu[vcpu]!;
  if (!target.guest_mode || !usesCaches(m) || !m.on('gpc-final-check')) return false;
  yield m.step('final check: was a page of L1 taken away that vmcs02 has?');
  if (!vmx_is_nested_state_invalid(m, vcpu)) {
    if (target.spec.failed_final_checks > 0) target.spec.failed_final_checks = 0;
    return false;
  }
  target.stat.gpc_final_check_fails++;
  target.spec.failed_final_checks++;
  yield m.step('it was: make GET_NESTED_STATE_PAGES');
  kvm_make_request(m, vcpu, KVM_REQ.GET_NESTED_STATE_PAGES);
  return true;
}

/**
 * Has something come up since the requests were read?
 * @kvm arch/x86/kvm/x86.c: kvm_vcpu_exit_request
 */
function* kvm_vcpu_exit_request(m: Machine, vcpu: number): Body<boolean> {
  const { need_resched, sigpending } = m.vcpu[vcpu]!;
  const own = m.forwarded(buffered.MODE, vcpu);
  const mode = own < 0 ? m.vcpu[vcpu]!.mode : own;
  if (mode === vcpuMode.EXITING_GUEST_MODE || kvm_request_pending(m, vcpu)) return true;
  if (need_resched || sigpending) return true;
  return yield* kvm_invalid_nested_state(m, vcpu);
}

/** Events and what depends on them. */
function* prepareEvents(m: Machine, vcpuIndex: number): Body<number> {
  const vcpu = m.vcpu[vcpuIndex]!;
  const window = requestsWindow(m, vcpuIndex);
  const event = yield* kvm_check_request(m, vcpuIndex, KVM_REQ.EVENT);
  if (!event && !window) return prepared.ENTER;
  if ((yield* kvm_apic_accept_events(m, vcpuIndex)) < 0) return prepared.USER_SPACE;
  if (vcpu.mp_state === mpState.INIT_RECEIVED) return prepared.AGAIN;
  const injected: number = yield* kvm_check_and_inject_events(m, vcpuIndex);
  if (injected < 0) return prepared.USER_SPACE;
  if (window) yield* enableIrqWindow(m, vcpuIndex);
  if (apic_enabled(m, vcpuIndex)) {
    yield* update_cr8_intercept(m, vcpuIndex);
    yield* kvm_lapic_sync_to_vapic(m, vcpuIndex);
  }
  if (m.on('req-clear-before-handle')) return prepared.ENTER + injected;
  yield m.step('clear request {request}, its handler being done', KVM_REQ.EVENT);
  vcpu.requests.clear(KVM_REQ.EVENT);
  return prepared.ENTER + injected;
}

/** Everything before interrupts are off. */
function* prepare(m: Machine, vcpuIndex: number): Body<number> {
  yield m.step('is any request pending?');
  if (kvm_request_pending(m, vcpuIndex) && !(yield* handleRequests(m, vcpuIndex))) {
    return prepared.USER_SPACE;
  }
  const how: number = yield* prepareEvents(m, vcpuIndex);
  if (how < prepared.ENTER) return how;
  if (activeMmu(m, vcpuIndex).root < 0) yield* kvm_mmu_load(m, vcpuIndex);
  yield* cond_resched(m, vcpuIndex);
  return how;
}

/**
 * While guest memory is still safe to touch: L1 finds in its enlightened VMCS how L2 has ended.
 * @kvm arch/x86/kvm/vmx/vmx.c: vmx_prepare_switch_to_guest
 */
function* prepareSwitchToGuest(m: Machine, vcpuIndex: number): Body<void> {
  const { need_vmcs12_to_shadow_sync: stale } = m.vcpu[vcpuIndex]!.nested;
  if (stale) yield* nested_sync_vmcs12_to_shadow(m, vcpuIndex);
}

/** What was posted goes into IRR and, with APICv, into RVI. */
function* syncPir(m: Machine, vcpuIndex: number): Body<void> {
  if (!apic_enabled(m, vcpuIndex) || !syncsPir(m, vcpuIndex)) return;
  yield* vmx_sync_pir_to_irr(m, vcpuIndex);
}

function* irqsOff(m: Machine, vcpuIndex: number): Body<void> {
  yield m.step('interrupts off');
  local_irq_disable(m, m.vcpu[vcpuIndex]!.cpu);
}

/**
 * Into IN_GUEST_MODE. The barrier behind it orders the store before every read that follows; the
 * kernel has it inside srcu_read_unlock (smp_mb__after_srcu_read_unlock adds nothing).
 */
function* enterMode(m: Machine, vcpuIndex: number): Body<void> {
  const vcpu = m.vcpu[vcpuIndex]!;
  if (!m.on('pir-sync-after-mode')) yield* syncPir(m, vcpuIndex);
  if (m.on('irq-off-before-mode')) yield* irqsOff(m, vcpuIndex);
  if (m.on('mode-store-mb')) {
    yield m.step('mode = IN_GUEST_MODE');
    setMode(m, vcpuIndex, vcpuMode.IN_GUEST_MODE);
  } else {
    yield m.step('mode = IN_GUEST_MODE, into the store buffer');
    m.storeLater(buffered.MODE, vcpuIndex, vcpuMode.IN_GUEST_MODE);
  }
  yield m.step('srcu_read_unlock');
  srcu_read_unlock(m, vcpu.srcu_idx);
  vcpu.srcu_idx = -1;
  if (m.on('pir-sync-after-mode')) yield* syncPir(m, vcpuIndex);
}

/** The vector that the exit acknowledged is handled now. @kvm arch/x86/kvm/vmx/vmx.c */
function* handleExitIrqoff(m: Machine, vcpuIndex: number, reason: number): Body<void> {
  const vmcs = currentVmcs(m, vcpuIndex);
  const acknowledged = vmcs.vm_exit_intr_info;
  if (reason !== exitReason.EXTERNAL_INTERRUPT || acknowledged < INTR_INFO_VALID) return;
  yield m.step('run the handler of vector {vector}', acknowledged & 0xff);
  vmcs.vm_exit_intr_info = 0;
  handleVector(m, m.vcpu[vcpuIndex]!.cpu, acknowledged & 0xff);
}

function* leaveMode(m: Machine, vcpuIndex: number): Body<void> {
  yield m.step('mode = OUTSIDE_GUEST_MODE');
  m.drainStores();
  setMode(m, vcpuIndex, vcpuMode.OUTSIDE_GUEST_MODE);
}

/**
 * The way out of IN_GUEST_MODE, whether or not the guest was entered. The barrier behind the store
 * of the mode is a write barrier: without it a CPU other than x86 may make the store later.
 */
function* backToHost(m: Machine, vcpuIndex: number, reason: number): Body<void> {
  const vcpu = m.vcpu[vcpuIndex]!;
  const ordered = m.on('outside-store-wmb');
  if (ordered) yield* leaveMode(m, vcpuIndex);
  yield* handleExitIrqoff(m, vcpuIndex, reason);
  yield m.step('interrupts on: pending ones are taken');
  local_irq_enable(m, vcpu.cpu);
  if (!ordered) yield* leaveMode(m, vcpuIndex);
  yield m.step('srcu_read_lock');
  vcpu.srcu_idx = srcu_read_lock(m);
}

/** The entry does not take place. */
function* cancel(m: Machine, vcpuIndex: number, immediateExit: boolean): Body<void> {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield* backToHost(m, vcpuIndex, exitReason.NONE);
  if (immediateExit) {
    yield m.step('make EVENT');
    kvm_make_request(m, vcpuIndex, KVM_REQ.EVENT);
  }
  yield* vmx_cancel_injection(m, vcpuIndex);
  if (vcpu.apic_attention.any()) yield* kvm_lapic_sync_from_vapic(m, vcpuIndex);
}

/**
 * What the VMCS and the CPU need before the entry. With `immediateExit` the CPU leaves the guest
 * before its first instruction: by the VMX preemption timer, else by an IPI to itself.
 */
function* beforeEntry(m: Machine, vcpuIndex: number, immediateExit: boolean): Body<void> {
  const { apic, cpu } = m.vcpu[vcpuIndex]!;
  if (apic.guest_apic_protected) {
    yield* notifyTd(m, vcpuIndex);
    return;
  }
  if (m.vm.enable_preemption_timer) yield* vmx_update_hv_timer(m, vcpuIndex, immediateExit);
  else if (immediateExit) {
    yield m.step('send the reschedule IPI to this CPU');
    smp_send_reschedule(m, cpu);
  }
  if (apic.lapic_timer.expired_tscdeadline !== 0) yield* kvm_wait_lapic_expire(m, vcpuIndex);
}

/** The guest, until an exit that needs more than the fast path; −1 if that has dealt with it. */
function* runGuest(
  m: Machine,
  vcpuIndex: number,
  program: Program,
  immediateExit: boolean,
): Body<number> {
  const { nested } = m.vcpu[vcpuIndex]!;
  for (;;) {
    yield* beforeEntry(m, vcpuIndex, immediateExit);
    const reason = yield* vmEntry(m, vcpuIndex, program);
    // The entry that VMLAUNCH or VMRESUME has committed is over, well or not.
    if (nested.nested_run_pending) nested.nested_run_pending = false;
    vmx_complete_interrupts(m, vcpuIndex);
    const how = yield* vmx_exit_handlers_fastpath(m, vcpuIndex, reason, program, immediateExit);
    if (how === fastpath.NONE) return reason;
    if (how === fastpath.EXIT_HANDLED) return -1;
    // Whoever saw IN_GUEST_MODE may have posted and sent an IPI that is still pending.
    if (!m.on('fastpath-recheck')) continue;
    yield* syncPir(m, vcpuIndex);
    yield m.step('final check: mode EXITING, or a request?');
    if (yield* kvm_vcpu_exit_request(m, vcpuIndex)) return -1;
  }
}

/** The guest and what its exit asks for. */
function* runAndHandle(
  m: Machine,
  vcpuIndex: number,
  program: Program,
  immediateExit: boolean,
): Body<number> {
  const reason = yield* runGuest(m, vcpuIndex, program, immediateExit);
  yield* backToHost(m, vcpuIndex, reason);
  if (m.vcpu[vcpuIndex]!.apic_attention.any()) yield* kvm_lapic_sync_from_vapic(m, vcpuIndex);
  return reason < 0 ? AGAIN : yield* vmx_handle_exit(m, vcpuIndex, reason, program);
}

/**
 * One turn of a vCPU: requests, entry, guest, exit.
 * @omits guest FPU, debug registers
 */
const vcpu_enter_guest = kvm(
  file,
  function* vcpu_enter_guest(m: Machine, vcpuIndex: number, program: Program, l2: Program) {
    const how: number = yield* prepare(m, vcpuIndex);
    if (how < prepared.ENTER) return how;
    const immediateExit = how === prepared.ENTER_AND_EXIT;
    yield* prepareSwitchToGuest(m, vcpuIndex);
    yield* enterMode(m, vcpuIndex);
    if (m.on('final-request-check')) {
      yield m.step('final check: mode EXITING, or a request?');
      if (yield* kvm_vcpu_exit_request(m, vcpuIndex)) {
        yield* cancel(m, vcpuIndex, immediateExit);
        return AGAIN;
      }
    }
    if (m.forwarded(buffered.MODE, vcpuIndex) >= 0) {
      yield m.step('the store of mode reaches memory');
      m.drainStores();
    }
    if (!m.on('irq-off-before-mode')) yield* irqsOff(m, vcpuIndex);
    if (immediateExit) {
      yield m.step('make EVENT');
      kvm_make_request(m, vcpuIndex, KVM_REQ.EVENT);
    }
    // An event may have ended L2, or not: this is the level that is entered.
    const entered = m.vcpu[vcpuIndex]!.guest_mode ? l2 : program;
    return yield* runAndHandle(m, vcpuIndex, entered, immediateExit);
  },
);

/**
 * The thread is no reader of the memslots while another has its CPU.
 * @kvm kernel/entry/kvm.c: xfer_to_guest_mode_handle_work
 */
function* giveCpuAway(m: Machine, vcpuIndex: number): Body<void> {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield m.step('work is pending: srcu_read_unlock');
  srcu_read_unlock(m, vcpu.srcu_idx);
  yield* cond_resched(m, vcpuIndex);
  yield m.step('srcu_read_lock');
  vcpu.srcu_idx = srcu_read_lock(m);
}

/**
 * Between two turns: UNBLOCK has done its work, a timer that expired is injected; user space may
 * have to hear that the guest can take its ExtINT, or may have sent a signal.
 */
function* betweenTurns(m: Machine, vcpuIndex: number): Body<number> {
  const vcpu = m.vcpu[vcpuIndex]!;
  const { requests } = vcpu;
  if (requests.has(KVM_REQ.UNBLOCK)) {
    yield m.step('clear UNBLOCK');
    requests.clear(KVM_REQ.UNBLOCK);
    noteTaken(m, vcpuIndex, KVM_REQ.UNBLOCK);
  }
  if (apic_has_pending_timer(m, vcpuIndex)) yield* kvm_inject_apic_timer_irqs(m, vcpuIndex);
  if (windowIsOpen(m, vcpuIndex)) {
    yield m.step('the guest can take an interrupt: KVM_EXIT_IRQ_WINDOW_OPEN');
    vcpu.exit_reason = kvmExit.IRQ_WINDOW_OPEN;
    return USER_SPACE;
  }
  if (vcpu.need_resched) yield* giveCpuAway(m, vcpuIndex);
  if (!vcpu.sigpending) return AGAIN;
  yield m.step('a signal is pending: −EINTR, KVM_EXIT_INTR');
  vcpu.exit_reason = kvmExit.INTR;
  return USER_SPACE;
}

/** Exits that user space deals with; after the others it does not call KVM_RUN again. */
const answered: readonly number[] = [
  kvmExit.MMIO,
  kvmExit.IRQ_WINDOW_OPEN,
  kvmExit.INTR,
  kvmExit.TPR_ACCESS,
  kvmExit.IOAPIC_EOI,
];

/** Nobody else of user space wants something of the vCPU. */
const mutexIsFree: Condition = (m, vcpu) => m.vcpu[vcpu]!.mutex_waiters === 0;

/** The thread is in user space until it calls KVM_RUN again; says whether it does. */
function* returnToUserSpace(m: Machine, vcpuIndex: number, program: Program): Body<boolean> {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield m.step('KVM_RUN returns: srcu_read_unlock');
  srcu_read_unlock(m, vcpu.srcu_idx);
  vcpu.srcu_idx = -1;
  vcpu.stat.user_exits++;
  saveReadiness(m, vcpuIndex);
  if (vcpu.sigpending) vcpu.sigpending = false;
  if (!answered.includes(vcpu.exit_reason)) return false;
  if (m.betweenRuns !== undefined) yield* m.betweenRuns(m, vcpuIndex);
  yield m.park('KVM_RUN is called again: srcu_read_lock', mutexIsFree, vcpuIndex);
  vcpu.exit_reason = kvmExit.NONE;
  vcpu.srcu_idx = srcu_read_lock(m);
  if (vcpu.mmio_needed) yield* complete_emulated_mmio(m, vcpuIndex, program);
  return true;
}

/**
 * The thread of a vCPU inside KVM_RUN, which user space calls again and again. Its guest runs
 * `program`, and `l2` in a guest of its own.
 */
export const vcpu_run = kvm(
  file,
  function* vcpu_run(m: Machine, vcpuIndex: number, program: Program, l2: Program) {
    const vcpu = m.vcpu[vcpuIndex]!;
    yield m.step('srcu_read_lock');
    if (!mutexIsFree(m, vcpuIndex)) {
      yield m.park('an ioctl has the mutex: wait', mutexIsFree, vcpuIndex);
    }
    vcpu.srcu_idx = srcu_read_lock(m);
    for (;;) {
      let result: number = kvm_vcpu_running(m, vcpuIndex)
        ? yield* vcpu_enter_guest(m, vcpuIndex, program, l2)
        : yield* vcpu_block(m, vcpuIndex);
      if (result !== USER_SPACE) result = yield* betweenTurns(m, vcpuIndex);
      if (result === USER_SPACE && !(yield* returnToUserSpace(m, vcpuIndex, program))) return;
    }
  },
);
