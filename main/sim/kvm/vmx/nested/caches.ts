/** The caches of L1's pages: taken under their lock, for their frame or for their bytes. */
import {
  gpcLockReadable,
  noteWanted,
  read_lock_gpc,
  read_unlock_gpc,
} from '../../../host/locks.ts';
import { type CacheName, gpcId, gpcOf } from '../../../state/gpc.ts';
import { PAGE_SIZE, pfn_to_hpa } from '../../../state/machine.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { taskState } from '../../../state/vcpu.ts';
import { wantedLock } from '../../../state/vm.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { EINVAL, ENOENT } from '../../errno.ts';
import { kvm_make_request } from '../../kvm_main.ts';
import {
  kvm_gpc_activate,
  kvm_gpc_check,
  kvm_gpc_deactivate,
  kvm_gpc_refresh,
} from '../../pfncache.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** Are L1's pages kept in caches, or mapped for each run of L2? */
export const usesCaches = (m: Machine): boolean => m.switch('l1-pages') === 'gpc';

/** Is the enlightened VMCS kept in a cache, too? */
export const usesEvmcsCache = (m: Machine): boolean => usesCaches(m) && m.on('evmcs-gpc');

/** Does the vCPU have caches of its own, beside those of the table? */
export const hasOwnCaches = (m: Machine): boolean =>
  !m.on('nested-context-table') || m.on('gpc-ctx-exclusive');

/**
 * Number of a cache that the vCPU uses: its own, or one of the context of its vmcs12. −1 where a
 * table was full before the vCPU found its first context in it.
 */
export const cacheOf = (m: Machine, vcpu: number, name: CacheName): number => {
  const { context } = m.vcpu[vcpu]!.nested;
  return context < 0 && !hasOwnCaches(m) ? -1 : gpcId(m, { vcpu, context }, name);
};

function* readLock(m: Machine, id: number): Body<void> {
  noteWanted(m, wantedLock.GPC_READ, id);
  yield m.park('read_lock gpc.lock', gpcLockReadable, id);
  read_lock_gpc(m, id);
}

/** The user of the frame or of the mapping is done. */
export const nested_gpc_unlock = kvm(file, function* nested_gpc_unlock(m: Machine, id: number) {
  yield m.step('read_unlock gpc.lock of cache {id}', id);
  read_unlock_gpc(m, id);
});

/**
 * `gpc-v4`: a recycled cache still names the vCPU that had it. The lock is held for reading only,
 * so that two vCPUs may write here at once.
 */
function* adopt(m: Machine, vcpu: number, id: number): Body<void> {
  const gpc = gpcOf(m, id);
  if (!m.on('nested-context-table') || gpc.vcpu < 0 || gpc.vcpu === vcpu) return;
  yield m.step('the cache was recycled: vcpu = {vcpu}', vcpu);
  gpc.vcpu = vcpu;
}

/**
 * Takes the lock of a cache that maps the page at `gpa`, for reading; activates the cache for it
 * if it does not. 0 with the lock held, or why there is no page. Sleeps.
 */
export const nested_gpc_lock = kvm(
  file,
  function* nested_gpc_lock(m: Machine, vcpu: number, id: number, gpa: number) {
    if (gpa % PAGE_SIZE !== 0) return -EINVAL;
    if (id < 0) return -ENOENT;
    const gpc = gpcOf(m, id);
    for (;;) {
      yield* readLock(m, id);
      yield* adopt(m, vcpu, id);
      yield m.step('is the cache usable, and for this page?');
      if (kvm_gpc_check(m, id) && gpc.gpa === gpa) return 0;
      yield* nested_gpc_unlock(m, id);
      const error: number = yield* kvm_gpc_activate(m, id, gpa);
      if (error === 0) continue;
      // Active and not valid it would stop every entry into L2, and nothing would ever map it.
      if (gpc.vcpu >= 0 && m.on('gpc-deactivate-on-fail')) yield* kvm_gpc_deactivate(m, id);
      return error;
    }
  },
);

/**
 * The host-physical address of the page, or a negative error. The lock is dropped: from here on
 * only an invalidation tells that it is no longer true.
 */
export const nested_gpc_hpa = kvm(
  file,
  function* nested_gpc_hpa(m: Machine, vcpu: number, id: number, gpa: number) {
    const error: number = yield* nested_gpc_lock(m, vcpu, id, gpa);
    if (error < 0) return error;
    yield m.step('read the pfn');
    const hpa = pfn_to_hpa(gpcOf(m, id).pfn);
    yield* nested_gpc_unlock(m, id);
    return hpa;
  },
);

/** A thread that is about to sleep is so no longer: kvm_vcpu_block begins its round again. */
function* stayAwake(m: Machine, vcpu: number): Body<void> {
  const target = m.vcpu[vcpu]!;
  if (!m.on('gpc-nosleep-in-block') || target.task_state !== taskState.INTERRUPTIBLE) return;
  yield m.step('task state RUNNING: the refresh may sleep');
  target.task_state = taskState.RUNNING;
}

/**
 * The frame behind the mapping of a cache, with the lock held for reading; −1 without a mapping.
 * Refreshes the cache if it has to, and sleeps then.
 */
export const nested_gpc_lock_if_active = kvm(
  file,
  function* nested_gpc_lock_if_active(m: Machine, vcpu: number, id: number) {
    if (id < 0) return -1;
    const gpc = gpcOf(m, id);
    for (;;) {
      yield* readLock(m, id);
      yield m.step('is the cache active, and usable?');
      if (!gpc.active) {
        yield* nested_gpc_unlock(m, id);
        return -1;
      }
      if (kvm_gpc_check(m, id)) return gpc.khva_pfn;
      yield* nested_gpc_unlock(m, id);
      yield* stayAwake(m, vcpu);
      if ((yield* kvm_gpc_refresh(m, id)) !== 0) return -1;
      if (!m.on('gpc-rewrite-on-refresh')) continue;
      yield m.step('make GET_NESTED_STATE_PAGES: vmcs02 has the old frame');
      kvm_make_request(m, vcpu, KVM_REQ.GET_NESTED_STATE_PAGES);
    }
  },
);
