/** Requests, kicks and blocking: what vCPU threads and everybody else agree on. */
import { smp_call_function_many, smp_send_reschedule } from '../host/irq.ts';
import { type Asked, flagsOf, isRequest, KVM_REQ, type RequestNumber } from '../state/requests.ts';
import { buffered } from '../state/store_buffer.ts';
import { taskState, vcpuMode } from '../state/vcpu.ts';
import { type Body, kvm, type Machine } from '../steps.ts';

const file = 'virt/kvm/kvm_main.c';

/** Is the current actor the thread of this vCPU? Actor i is vCPU i's thread. */
const isOwnThread = (m: Machine, vcpu: number): boolean => m.current === vcpu;

/** Writes `mode`; what a foreign thread may not write is counted for the check. */
export const setMode = (m: Machine, vcpu: number, mode: number): void => {
  const { mode: old } = m.vcpu[vcpu]!;
  const allowed =
    isOwnThread(m, vcpu) ||
    (old === vcpuMode.IN_GUEST_MODE && mode === vcpuMode.EXITING_GUEST_MODE);
  if (!allowed) m.vm.spec.foreign_mode_writes++;
  m.vcpu[vcpu]!.mode = mode;
};

/**
 * Sets the bit and nothing else: no wake-up, no IPI. One locked instruction.
 * @kvm include/linux/kvm_host.h: kvm_make_request
 */
export const kvm_make_request = (m: Machine, vcpu: number, request: RequestNumber): void => {
  const target = m.vcpu[vcpu]!;
  m.drainStores();
  target.requests.set(request);
  target.stat.requests_made++;
  target.spec.request[request]!.published++;
  if (!isOwnThread(m, vcpu)) target.spec.kick[m.current]!.undecided = true;
};

/** Bookkeeping of the checks: the current actor knows whether it has to interrupt the vCPU. */
export const noteDecided = (m: Machine, vcpu: number): void => {
  const kick = m.vcpu[vcpu]!.spec.kick[m.current]!;
  if (kick.undecided) kick.undecided = false;
};

/** Bookkeeping of the checks: the current actor has requested a vector of the vCPU. */
export const noteVisible = (m: Machine, vcpu: number, vector: number): void => {
  const { apic, spec } = m.vcpu[vcpu]!;
  if (apic.tmr.has(vector) !== spec.kick[m.current]!.level) spec.untimely_tmr++;
};

/** Bookkeeping of the checks: what the request asks for is done from now on. */
export const noteTaken = (m: Machine, vcpu: number, request: RequestNumber): void => {
  const { spec, stat } = m.vcpu[vcpu]!;
  stat.requests_handled++;
  spec.request[request]!.taken = spec.request[request]!.published;
  if (request === KVM_REQ.APIC_PAGE_RELOAD) spec.in_reload = true;
};

/** @kvm include/linux/kvm_host.h: kvm_request_pending */
export const kvm_request_pending = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.requests.any() || m.forwarded(buffered.EVENT, vcpu) > 0;

/**
 * Moves IN_GUEST_MODE to EXITING_GUEST_MODE; gives the mode before. One locked instruction.
 * @kvm include/linux/kvm_host.h
 */
const kvm_vcpu_exiting_guest_mode = (m: Machine, vcpu: number): number => {
  m.drainStores();
  const { mode } = m.vcpu[vcpu]!;
  if (mode === vcpuMode.IN_GUEST_MODE || !m.on('kick-mode-cmpxchg')) {
    setMode(m, vcpu, vcpuMode.EXITING_GUEST_MODE);
  }
  return mode;
};

/**
 * Wakes a blocked vCPU; says whether it was blocked. rcuwait_wake_up begins with a full barrier.
 * @kvm virt/kvm/kvm_main.c
 */
export const kvm_vcpu_wake_up = (m: Machine, vcpu: number): boolean => {
  m.drainStores();
  const target = m.vcpu[vcpu]!;
  const wasBlocked = target.task_state === taskState.BLOCKED;
  if (target.task_state !== taskState.RUNNING) target.task_state = taskState.RUNNING;
  return wasBlocked;
};

/**
 * Does a maker that saw the target in `mode` have to interrupt it? Who waits does so for a target
 * that reads page tables without a lock, too.
 * @kvm virt/kvm/kvm_main.c: kvm_request_needs_ipi
 */
const needsIpi = (m: Machine, mode: number, wait: boolean): boolean => {
  if (!wait) return mode === vcpuMode.IN_GUEST_MODE;
  if (mode === vcpuMode.READING_SHADOW_PAGE_TABLES) return m.on('req-wait-covers-reading');
  return mode !== vcpuMode.OUTSIDE_GUEST_MODE;
};

const noteKick = (m: Machine, vcpu: number): void => {
  const { spec, non_root } = m.vcpu[vcpu]!;
  const kick = spec.kick[m.current]!;
  kick.in_guest = non_root;
  kick.left_guest = spec.left_guest;
};

const noteWalk = (m: Machine, vcpu: number): void => {
  const { spec } = m.vcpu[vcpu]!;
  const kick = spec.kick[m.current]!;
  kick.walking = true;
  kick.walks = spec.walks;
};

/**
 * A maker that waited must find that each target it found in the guest has left since, and that
 * each that it found in a walk of page tables is through with it.
 */
const noteAcks = (m: Machine, mask: number): void => {
  for (const { spec, cpu } of m.vcpu) {
    const kick = spec.kick[m.current]!;
    if (kick.walking) {
      kick.walking = false;
      if (spec.walks === kick.walks) m.vm.spec.unacked_waits++;
    }
    const interrupted = cpu >= 0 && (mask & (1 << cpu)) !== 0;
    if (interrupted && kick.in_guest && spec.left_guest === kick.left_guest) {
      m.vm.spec.unacked_waits++;
    }
  }
};

const everyVcpu = ~0;

/** Sets the bit, if what is asked has one; the maker is counted until it has sent the IPI. */
function* setBit(m: Machine, request: Asked, target: number): Body<void> {
  if (isRequest(request)) {
    yield m.step('request {request}: set the bit of vCPU {target}', request, target);
    kvm_make_request(m, target, request);
    noteDecided(m, target);
  }
  m.vcpu[target]!.spec.makers_in_flight++;
}

/** Makes a request of the vCPUs of a mask; says whether an IPI was sent. */
function* requestOf(m: Machine, request: Asked, vcpus: number): Body<boolean> {
  const { wait, noWakeup } = flagsOf(request);
  let mask = 0;
  for (const vcpu of m.vcpu) {
    const target = vcpu.index;
    if ((vcpus & (1 << target)) === 0) continue;
    yield* setBit(m, request, target);
    if (!noWakeup) {
      yield m.step('wake the vCPU if it is blocked');
      if (kvm_vcpu_wake_up(m, target)) {
        vcpu.spec.makers_in_flight--;
        continue;
      }
    }
    yield m.step('mode of vCPU {target}: IN_GUEST_MODE becomes EXITING_GUEST_MODE', target);
    const mode = kvm_vcpu_exiting_guest_mode(m, target);
    if (wait && mode === vcpuMode.READING_SHADOW_PAGE_TABLES) noteWalk(m, target);
    if (needsIpi(m, mode, wait) && vcpu.cpu >= 0 && !isOwnThread(m, target)) {
      noteKick(m, target);
      mask |= 1 << vcpu.cpu;
    } else {
      vcpu.spec.makers_in_flight--;
    }
  }
  if (mask === 0) {
    if (wait) noteAcks(m, mask);
    return false;
  }
  yield* smp_call_function_many(m, mask, wait);
  for (const vcpu of m.vcpu) {
    if (vcpu.cpu >= 0 && (mask & (1 << vcpu.cpu)) !== 0) vcpu.spec.makers_in_flight--;
  }
  if (wait) noteAcks(m, mask);
  return true;
}

/**
 * Makes a request of every vCPU and interrupts those that run the guest. With a WAIT request it
 * returns when each of them has left the guest; not when the request has been handled.
 * @kvm virt/kvm/kvm_main.c
 */
export const kvm_make_all_cpus_request = kvm(
  file,
  function* kvm_make_all_cpus_request(m: Machine, request: RequestNumber) {
    return yield* requestOf(m, request, everyVcpu);
  },
);

/** The same for some of them, a bit for each. @kvm virt/kvm/kvm_main.c */
export const kvm_make_vcpus_request_mask = kvm(
  file,
  function* kvm_make_vcpus_request_mask(m: Machine, request: Asked, vcpus: number) {
    return yield* requestOf(m, request, vcpus);
  },
);

/**
 * Makes a vCPU leave the guest, or wakes it; does not wait.
 * @kvm virt/kvm/kvm_main.c: kvm_vcpu_kick
 */
export const kvm_vcpu_kick = kvm(file, function* kvm_vcpu_kick(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  yield m.step('wake the vCPU if it is blocked');
  target.stat.kicks++;
  if (kvm_vcpu_wake_up(m, vcpu)) {
    noteDecided(m, vcpu);
    return;
  }
  yield m.step('mode of vCPU {target}: IN_GUEST_MODE becomes EXITING_GUEST_MODE', vcpu);
  // The vCPU that runs on this CPU needs no IPI to look at its mode.
  if (isOwnThread(m, vcpu) && m.on('kick-skip-running-self')) {
    if (target.mode === vcpuMode.IN_GUEST_MODE) setMode(m, vcpu, vcpuMode.EXITING_GUEST_MODE);
    return;
  }
  if (kvm_vcpu_exiting_guest_mode(m, vcpu) !== vcpuMode.IN_GUEST_MODE) {
    noteDecided(m, vcpu);
    return;
  }
  yield m.step('send the reschedule IPI');
  noteDecided(m, vcpu);
  if (target.cpu >= 0) smp_send_reschedule(m, target.cpu);
});
