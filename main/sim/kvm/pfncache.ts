/**
 * gfn_to_pfn_cache: a page of the guest that KVM keeps mapped. It holds no reference to the frame;
 * the MMU notifier says when it has to be looked up again.
 */
import { put_page } from '../host/frames.ts';
import {
  gpcListLockFree,
  gpcLockFree,
  gpcLockReadable,
  gpcRefreshLockFree,
  invalidationMoved,
  lock_gpc_list,
  lock_gpc_refresh,
  noteWanted,
  read_lock_gpc,
  read_unlock_gpc,
  unlock_gpc_list,
  write_lock_gpc,
  write_unlock_gpc,
} from '../host/locks.ts';
import { hva_to_pfn, PFN_ERR } from '../host/page_table.ts';
import { INVALID_GPA } from '../state/addresses.ts';
import { type GpcView, gpcCount, gpcOf } from '../state/gpc.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import { mappingKind } from '../state/nested.ts';
import { KVM_REQ_OUTSIDE_GUEST_MODE, OUTSIDE_GUEST_MODE_NO_WAIT } from '../state/requests.ts';
import { taskState } from '../state/vcpu.ts';
import { wantedLock } from '../state/vm.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { EFAULT, EINVAL } from './errno.ts';
import { kvm_make_vcpus_request_mask } from './kvm_main.ts';
import { gfn_to_memslot, hvaInSlot } from './mmu/mmu.ts';

const file = 'virt/kvm/pfncache.c';

/** KVM_HVA_ERR_BAD: the address is in no memslot. */
const HVA_ERR = 0;

/** A mapping into the kernel: of which kind, and of which frame. */
interface Mapping {
  readonly kind: number;
  readonly pfn: number;
}
const noMapping: Mapping = { kind: mappingKind.NONE, pfn: PFN_ERR };

const mappingOf = (gpc: GpcView): Mapping => ({ kind: gpc.khva, pfn: gpc.khva_pfn });

const setMapping = (gpc: GpcView, { kind, pfn }: Mapping): void => {
  gpc.khva = kind;
  gpc.khva_pfn = pfn;
};

/** Forgets the frame; the mapping is undone by who has it in hand. */
const purge = (gpc: GpcView): void => {
  gpc.valid = false;
  gpc.pfn = PFN_ERR;
  setMapping(gpc, noMapping);
};

/** @kvm virt/kvm/pfncache.c */
export const kvm_gpc_init = (m: Machine, id: number): void => {
  const gpc = gpcOf(m, id);
  gpc.active = false;
  purge(gpc);
  gpc.gpa = INVALID_GPA;
  gpc.uhva = HVA_ERR;
  gpc.vcpu = -1;
};

/** Of a page whose address a vCPU has in its VMCS: an invalidation makes it leave the guest. */
export const kvm_gpc_init_for_vcpu = (m: Machine, id: number, vcpu: number): void => {
  kvm_gpc_init(m, id);
  gpcOf(m, id).vcpu = vcpu;
};

/** May the mapping be used? The caller holds the lock, and srcu. @kvm virt/kvm/pfncache.c */
export const kvm_gpc_check = (m: Machine, id: number): boolean => {
  const gpc = gpcOf(m, id);
  const current = gpc.generation === m.vm.memslots_generation && gpc.uhva !== HVA_ERR;
  return gpc.active && current && gpc.valid;
};

/**
 * Was the frame taken away? No lock, and no look at the memslots.
 * @kvm include/linux/kvm_host.h (series)
 */
export const kvm_gpc_invalid = (m: Machine, id: number): boolean => {
  const gpc = gpcOf(m, id);
  return gpc.active && !gpc.valid;
};

/** The current actor has done what may sleep; the checks want to know whether it was allowed to. */
const noteSleep = (m: Machine): void => {
  const { spec } = m.vm;
  if (spec.held[m.current]!.spinning > 0) spec.slept_locked++;
  const thread = m.vcpu[m.current];
  if (thread?.task_state !== taskState.INTERRUPTIBLE) return;
  // Who sleeps here wakes as RUNNING: the sleep that it was about to begin will not take place.
  spec.slept_interruptible++;
  thread.task_state = taskState.RUNNING;
};

/** Costs are counted for the vCPU whose thread pays them, or for the first. */
const payer = (m: Machine): Machine['vcpu'][number]['stat'] =>
  (m.vcpu[m.current] ?? m.vcpu[0]!).stat;

/** @kvm virt/kvm/pfncache.c */
const gpc_map = kvm(file, function* gpc_map(m: Machine, pfn: number) {
  const stat = payer(m);
  if (m.frame[pfn]!.has_struct_page) {
    yield m.step('kmap pfn {pfn}', pfn);
    noteSleep(m);
    stat.gpc_kmap++;
    return { kind: mappingKind.KMAP, pfn } as Mapping;
  }
  yield m.step('memremap pfn {pfn}, write-back', pfn);
  noteSleep(m);
  stat.gpc_memremap++;
  return { kind: mappingKind.MEMREMAP, pfn } as Mapping;
});

/** @kvm virt/kvm/pfncache.c */
const gpc_unmap = kvm(file, function* gpc_unmap(m: Machine, { kind, pfn }: Mapping) {
  if (kind === mappingKind.NONE) return;
  if (kind === mappingKind.KMAP) {
    yield m.step('kunmap pfn {pfn}', pfn);
    payer(m).gpc_kunmap++;
  } else {
    yield m.step('memunmap pfn {pfn}', pfn);
    payer(m).gpc_memunmap++;
  }
});

/** Undoes what the cache had; with pins, the reference goes too. */
function* unmapOld(m: Machine, old: Mapping): Body<void> {
  yield* gpc_unmap(m, old);
  if (old.kind === mappingKind.NONE || m.on('gpc-no-pin')) return;
  yield m.step('drop the reference of the cache to pfn {pfn}', old.pfn);
  m.vm.spec.gpc_refs--;
  put_page(m, old.pfn);
}

/** A new look-up may be stale already: was anything invalidated since `seq` was read? */
const mmu_notifier_retry_cache = (m: Machine, seq: number): boolean => {
  // The notifier invalidates caches before it raises mmu_invalidate_in_progress: only this count
  // tells of a frame that is about to go.
  if (m.on('gpc-mn-count-check') && m.vm.mn_active_invalidate_count !== 0) return true;
  return m.on('gpc-seq-check') && m.vm.mmu_invalidate_seq !== seq;
};

function* writeLock(m: Machine, id: number): Body<void> {
  noteWanted(m, wantedLock.GPC_WRITE, id);
  yield m.park('write_lock gpc.lock: wait for its readers', gpcLockFree, id);
  write_lock_gpc(m, id);
}

function* writeUnlock(m: Machine, id: number): Body<void> {
  yield m.step('write_unlock gpc.lock of cache {id}', id);
  write_unlock_gpc(m, id);
}

/** What one look-up found, with its reference. */
interface Found {
  readonly pfn: number;
  readonly mapping: Mapping;
}

/** The last attempt was in vain. What it took over from the cache is the cache's. */
function* dropAttempt(m: Machine, { pfn, mapping }: Found, old: Mapping): Body<void> {
  if (mapping.pfn !== old.pfn) yield* gpc_unmap(m, mapping);
  yield m.step('release pfn {pfn} of the last attempt', pfn);
  put_page(m, pfn);
}

/** One look-up, without the lock: it may sleep. */
function* lookUp(m: Machine, gpc: GpcView, old: Mapping): Body<Found> {
  const pfn: number = yield* hva_to_pfn(m, gpc.uhva);
  noteSleep(m);
  if (pfn < 0) return { pfn, mapping: noMapping };
  const mapping: Mapping = pfn === gpc.pfn ? old : yield* gpc_map(m, pfn);
  return { pfn, mapping };
}

/** Bookkeeping of the checks: the next final check of the vCPU has a reason to pass. */
const noteMended = (m: Machine, gpc: GpcView): void => {
  const spec = m.vcpu[gpc.vcpu]?.spec;
  if (spec !== undefined && spec.failed_final_checks > 0) spec.failed_final_checks = 0;
};

/** Bookkeeping of the checks: whether the actor repeats its look-up because of an invalidation. */
const noteLooksAgain = (m: Machine, again: boolean): void => {
  const held = m.vm.spec.held[m.current]!;
  if (held.looks_again !== again) held.looks_again = again;
};

/** What was found is the cache's from now on; the notifier finds it there. Under the lock. */
function* publish(m: Machine, gpc: GpcView, { pfn, mapping }: Found, old: Mapping): Body<void> {
  yield m.step('valid = true, pfn {pfn}', pfn);
  gpc.valid = true;
  gpc.pfn = pfn;
  setMapping(gpc, mapping);
  noteMended(m, gpc);
  if (!m.on('gpc-no-pin') && mapping.pfn !== old.pfn) {
    m.vm.spec.gpc_refs++;
    return;
  }
  yield m.step('release pfn {pfn}: the cache keeps no reference', pfn);
  put_page(m, pfn);
}

/** Looks the frame up; enters and leaves with the lock held for writing. */
const hva_to_pfn_retry = kvm(file, function* hva_to_pfn_retry(m: Machine, id: number) {
  const gpc = gpcOf(m, id);
  const old = mappingOf(gpc);
  if (m.on('gpc-invalid-before-unlock') && gpc.valid) {
    yield m.step('valid = false: nobody may use the old frame for the new address');
    gpc.valid = false;
  }
  let found: Found | undefined;
  let last = -1;
  for (;;) {
    yield m.step('sample mmu_invalidate_seq');
    let seq = m.vm.mmu_invalidate_seq;
    yield* writeUnlock(m, id);
    if (found !== undefined) yield* dropAttempt(m, found, old);
    // An attempt that nothing preceded since the last would fail as that did: the kernel spins.
    if (last === seq) {
      yield m.park('spin until an invalidation goes on; sample its seq', invalidationMoved, seq);
      seq = m.vm.mmu_invalidate_seq;
    }
    last = seq;
    found = yield* lookUp(m, gpc, old);
    yield* writeLock(m, id);
    if (found.pfn < 0) {
      noteLooksAgain(m, false);
      return -EFAULT;
    }
    yield m.step('pfn {pfn}: was anything invalidated since?', found.pfn);
    if (!mmu_notifier_retry_cache(m, seq)) break;
    noteLooksAgain(m, m.vm.mn_active_invalidate_count !== 0);
    m.vm.stat.gpc_refresh_retries++;
  }
  noteLooksAgain(m, false);
  yield* publish(m, gpc, found, old);
  return 0;
});

/** Address, generation and HVA; says whether the HVA is another, −EFAULT if there is none. */
function* resolve(m: Machine, gpc: GpcView, gpa: number): Body<number> {
  const { memslots_generation: generation } = m.vm;
  if (gpc.gpa === gpa && gpc.generation === generation && gpc.uhva !== HVA_ERR) return 0;
  yield m.step('find the memslot of the address, and its HVA');
  const gfn = Math.floor(gpa / PAGE_SIZE);
  const slot = gfn_to_memslot(m, gfn);
  const uhva = slot < 0 || m.vm.memslot[slot]!.invalid ? HVA_ERR : hvaInSlot(m, slot, gfn);
  const changed = uhva !== gpc.uhva;
  gpc.gpa = gpa;
  gpc.generation = m.vm.memslots_generation;
  gpc.uhva = uhva;
  if (uhva === HVA_ERR) return -EFAULT;
  return changed ? 1 : 0;
}

const __kvm_gpc_refresh = kvm(
  file,
  function* __kvm_gpc_refresh(m: Machine, id: number, gpa: number) {
    const gpc = gpcOf(m, id);
    m.vm.stat.gpc_refreshes++;
    yield* writeLock(m, id);
    if (!gpc.active) {
      yield* writeUnlock(m, id);
      return -EINVAL;
    }
    const old = mappingOf(gpc);
    const { pfn: oldPfn } = gpc;
    const resolved: number = yield* resolve(m, gpc, gpa);
    if (resolved === 0 && gpc.valid) {
      noteMended(m, gpc);
      yield* writeUnlock(m, id);
      return 0;
    }
    const result: number = resolved < 0 ? resolved : yield* hva_to_pfn_retry(m, id);
    if (result < 0) {
      yield m.step('the refresh failed: valid = false, no pfn, no mapping');
      purge(gpc);
    }
    const changed = gpc.pfn !== oldPfn;
    yield* writeUnlock(m, id);
    if (changed) yield* unmapOld(m, old);
    return result;
  },
);

function* lockRefresh(m: Machine, id: number): Body<void> {
  if (!m.on('gpc-refresh-mutex')) return;
  noteWanted(m, wantedLock.GPC_REFRESH, id);
  yield m.park('lock gpc.refresh_lock', gpcRefreshLockFree, id);
  noteSleep(m);
  lock_gpc_refresh(m, id);
}

function* unlockRefresh(m: Machine, id: number): Body<void> {
  if (!m.on('gpc-refresh-mutex')) return;
  yield m.step('unlock gpc.refresh_lock of cache {id}', id);
  gpcOf(m, id).refresh_lock = 0;
}

/** Brings the mapping up to date; 0, or why there is none. Sleeps. */
export const kvm_gpc_refresh = kvm(file, function* kvm_gpc_refresh(m: Machine, id: number) {
  yield* lockRefresh(m, id);
  const result: number = yield* __kvm_gpc_refresh(m, id, gpcOf(m, id).gpa);
  yield* unlockRefresh(m, id);
  return result;
});

function* listCache(m: Machine, id: number, on: boolean): Body<void> {
  noteWanted(m, wantedLock.GPC_LIST);
  yield m.park('lock gpc_lock', gpcListLockFree);
  lock_gpc_list(m);
  yield m.step('cache {id}: on the list of the MMU notifier, or off it', id);
  gpcOf(m, id).on_list = on;
  yield m.step('unlock gpc_lock');
  unlock_gpc_list(m);
}

function* setActive(m: Machine, id: number): Body<void> {
  yield* writeLock(m, id);
  yield m.step('active = true');
  gpcOf(m, id).active = true;
  yield* writeUnlock(m, id);
}

/** Takes the cache into use for an address. A failure leaves it active, and not valid. */
export const kvm_gpc_activate = kvm(
  file,
  function* kvm_gpc_activate(m: Machine, id: number, gpa: number) {
    m.vm.stat.gpc_activates++;
    yield* lockRefresh(m, id);
    m.vm.spec.gpc_changes++;
    const first = !gpcOf(m, id).active;
    // A refresh must not map anything that the notifier cannot find.
    if (first && m.on('gpc-active-after-list')) yield* listCache(m, id, true);
    if (first) yield* setActive(m, id);
    const result: number = yield* __kvm_gpc_refresh(m, id, gpa);
    if (first && !m.on('gpc-active-after-list')) yield* listCache(m, id, true);
    m.vm.spec.gpc_changes--;
    yield* unlockRefresh(m, id);
    return result;
  },
);

/** Gives the cache up. */
export const kvm_gpc_deactivate = kvm(file, function* kvm_gpc_deactivate(m: Machine, id: number) {
  const gpc = gpcOf(m, id);
  yield* lockRefresh(m, id);
  if (gpc.active) {
    m.vm.stat.gpc_deactivates++;
    m.vm.spec.gpc_changes++;
    yield* writeLock(m, id);
    yield m.step('active = valid = false; no pfn, no mapping');
    const old = mappingOf(gpc);
    gpc.active = false;
    noteMended(m, gpc);
    purge(gpc);
    yield* writeUnlock(m, id);
    yield* listCache(m, id, false);
    m.vm.spec.gpc_changes--;
    yield* unmapOld(m, old);
  }
  yield* unlockRefresh(m, id);
});

/** Does an invalidation of the page take the frame of the cache away? Under its lock. */
const isCovered = (gpc: GpcView, hva: number): boolean =>
  gpc.valid && gpc.pfn !== PFN_ERR && gpc.uhva === hva;

/** One cache of the list; gives the mask of the vCPU that has to leave the guest for it. */
function* invalidateOne(m: Machine, id: number, hva: number): Body<number> {
  const gpc = gpcOf(m, id);
  noteWanted(m, wantedLock.GPC_READ, id);
  yield m.park('read_lock gpc.lock: does it hold the page?', gpcLockReadable, id);
  read_lock_gpc(m, id);
  const covered = isCovered(gpc, hva);
  yield m.step('read_unlock gpc.lock of cache {id}', id);
  read_unlock_gpc(m, id);
  if (!covered) return 0;
  yield* writeLock(m, id);
  let mask = 0;
  // It may have changed between the two locks.
  if (isCovered(gpc, hva)) {
    yield m.step('cache {id}: valid = false', id);
    gpc.valid = false;
    m.vm.stat.gpc_invalidations++;
    if (gpc.vcpu >= 0 && m.on('gpc-vcpu-kick')) mask = 1 << gpc.vcpu;
  }
  yield* writeUnlock(m, id);
  return mask;
}

/**
 * The page is about to go: invalidates the caches of it. Where the vCPU of a cache runs with the
 * address in its VMCS, it leaves the guest before the invalidation goes on.
 */
export const gfn_to_pfn_cache_invalidate_start = kvm(
  file,
  function* gfn_to_pfn_cache_invalidate_start(m: Machine, hva: number, mayBlock: boolean) {
    noteWanted(m, wantedLock.GPC_LIST);
    yield m.park('lock gpc_lock', gpcListLockFree);
    lock_gpc_list(m);
    let vcpus = 0;
    for (let id = 0; id < gpcCount(m); id++) {
      if (!gpcOf(m, id).on_list) continue;
      const mask: number = yield* invalidateOne(m, id, hva);
      vcpus |= mask;
    }
    yield m.step('unlock gpc_lock');
    unlock_gpc_list(m);
    if (vcpus === 0) return;
    const wait = mayBlock && m.on('gpc-kick-wait');
    const asked = wait ? KVM_REQ_OUTSIDE_GUEST_MODE : OUTSIDE_GUEST_MODE_NO_WAIT;
    const interrupted: boolean = yield* kvm_make_vcpus_request_mask(m, asked, vcpus);
    // The vCPUs of a process that the OOM killer reaps should all have stopped.
    if (interrupted && !mayBlock) m.vm.spec.oom_kicks++;
  },
);
