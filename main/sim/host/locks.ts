/**
 * Locks of the kernel. They are records; waiting for one is a condition on the machine. Locking and
 * unlocking drain the store buffer of the thread: who has waited has done so in the runner.
 */
import { gpcOf } from '../state/gpc.ts';
import { wantedLock } from '../state/vm.ts';
import type { Machine } from '../steps.ts';

/** Conditions for `park`: the lock can be taken. */
export const mmuLockFree = (m: Machine): boolean =>
  m.vm.mmu_lock.writer === 0 && m.vm.mmu_lock.readers === 0;
export const mmuLockReadable = (m: Machine): boolean => m.vm.mmu_lock.writer === 0;
export const slotsLockFree = (m: Machine): boolean => m.vm.slots_lock === 0;
export const mnInvalidateLockFree = (m: Machine): boolean => m.vm.mn_invalidate_lock === 0;
export const apicvUpdateLockFree = (m: Machine): boolean =>
  m.vm.apicv_update_lock.writer === 0 && m.vm.apicv_update_lock.readers === 0;
export const apicvUpdateLockReadable = (m: Machine): boolean => m.vm.apicv_update_lock.writer === 0;
export const apicMapLockFree = (m: Machine): boolean => m.vm.apic_map_lock === 0;
export const ioapicLockFree = (m: Machine): boolean => m.vm.ioapic.lock === 0;
/** The spinlock of the wake-up list of a CPU. */
export const wakeupLockFree = (m: Machine, cpu: number): boolean =>
  m.cpu[cpu]!.wakeup_vcpus_on_cpu_lock === 0;

/** Of a gfn_to_pfn_cache, by its number; the list of caches; the table of contexts. */
export const gpcLockFree = (m: Machine, id: number): boolean => {
  const { lock } = gpcOf(m, id);
  return lock.writer === 0 && lock.readers === 0;
};
export const gpcLockReadable = (m: Machine, id: number): boolean => gpcOf(m, id).lock.writer === 0;
export const gpcRefreshLockFree = (m: Machine, id: number): boolean =>
  gpcOf(m, id).refresh_lock === 0;
export const gpcListLockFree = (m: Machine): boolean => m.vm.gpc_lock === 0;
export const contextLockFree = (m: Machine): boolean => m.vm.nested_context_lock === 0;

/** Who looks a frame up again and again waits for the MMU notifier as for a lock. */
export const invalidationMoved = (m: Machine, seq: number): boolean =>
  m.vm.mn_active_invalidate_count === 0 || m.vm.mmu_invalidate_seq !== seq;

const lockConditions: ReadonlySet<unknown> = new Set<unknown>([
  invalidationMoved,
  gpcLockFree,
  gpcLockReadable,
  gpcRefreshLockFree,
  gpcListLockFree,
  contextLockFree,
  apicvUpdateLockFree,
  apicvUpdateLockReadable,
  apicMapLockFree,
  ioapicLockFree,
  wakeupLockFree,
  mmuLockFree,
  mmuLockReadable,
  slotsLockFree,
  mnInvalidateLockFree,
]);

/** Does the actor wait for a lock? Tells a deadlock from a machine at rest. */
export const wantsLock = (m: Machine, actor: number): boolean =>
  lockConditions.has(m.threads[actor]!.waitsFor);

export const down_write_apicv_update = (m: Machine): void => {
  m.vm.apicv_update_lock.writer = m.current + 1;
};
export const up_write_apicv_update = (m: Machine): void => {
  m.drainStores();
  m.vm.apicv_update_lock.writer = 0;
};
export const down_read_apicv_update = (m: Machine): void => {
  m.vm.apicv_update_lock.readers++;
};
export const up_read_apicv_update = (m: Machine): void => {
  m.drainStores();
  m.vm.apicv_update_lock.readers--;
};

export const write_lock_mmu = (m: Machine): void => {
  m.vm.mmu_lock.writer = m.current + 1;
};
export const write_unlock_mmu = (m: Machine): void => {
  m.drainStores();
  m.vm.mmu_lock.writer = 0;
};
export const read_lock_mmu = (m: Machine): void => {
  m.vm.mmu_lock.readers++;
};
export const read_unlock_mmu = (m: Machine): void => {
  m.drainStores();
  m.vm.mmu_lock.readers--;
};

/** Bookkeeping of the checks: the actor is about to wait for a lock, if it has to. */
export const noteWanted = (m: Machine, lock: number, id = 0): void => {
  const held = m.vm.spec.held[m.current]!;
  held.wants = lock as typeof held.wants;
  held.wanted = id;
};
const gotWanted = (m: Machine): void => {
  const held = m.vm.spec.held[m.current]!;
  if (held.wants !== wantedLock.NOTHING) held.wants = wantedLock.NOTHING;
};

/** Who holds one of these must not sleep: the checks count them. */
const hold = (m: Machine): void => {
  m.vm.spec.held[m.current]!.spinning++;
  gotWanted(m);
};
const release = (m: Machine): void => {
  m.drainStores();
  m.vm.spec.held[m.current]!.spinning--;
};

export const read_lock_gpc = (m: Machine, id: number): void => {
  gpcOf(m, id).lock.readers++;
  hold(m);
  const held = m.vm.spec.held[m.current]!;
  if (held.read_first === 0) held.read_first = id + 1;
  else held.read_second = id + 1;
};
export const read_unlock_gpc = (m: Machine, id: number): void => {
  gpcOf(m, id).lock.readers--;
  release(m);
  const held = m.vm.spec.held[m.current]!;
  if (held.read_first === id + 1) held.read_first = 0;
  else held.read_second = 0;
};
export const write_lock_gpc = (m: Machine, id: number): void => {
  gpcOf(m, id).lock.writer = m.current + 1;
  hold(m);
};
export const write_unlock_gpc = (m: Machine, id: number): void => {
  gpcOf(m, id).lock.writer = 0;
  release(m);
};
export const lock_gpc_refresh = (m: Machine, id: number): void => {
  gpcOf(m, id).refresh_lock = m.current + 1;
  gotWanted(m);
};
export const lock_gpc_list = (m: Machine): void => {
  m.vm.gpc_lock = m.current + 1;
  hold(m);
};
export const unlock_gpc_list = (m: Machine): void => {
  m.vm.gpc_lock = 0;
  release(m);
};

/** Joins the current generation of readers; gives its number. @kvm kernel/rcu/srcutree.c */
export const srcu_read_lock = (m: Machine): number => {
  const { srcu } = m.vm;
  const { idx } = srcu;
  if (idx === 0) srcu.readers_0++;
  else srcu.readers_1++;
  return idx;
};

/** @kvm kernel/rcu/srcutree.c */
export const srcu_read_unlock = (m: Machine, idx: number): void => {
  if (idx === 0) m.vm.srcu.readers_0--;
  else m.vm.srcu.readers_1--;
};

/** Condition for `park`: the readers of a generation have all left. */
export const srcuDrained = (m: Machine, idx: number): boolean =>
  (idx === 0 ? m.vm.srcu.readers_0 : m.vm.srcu.readers_1) === 0;
