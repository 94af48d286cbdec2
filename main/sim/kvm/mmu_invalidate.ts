/** Was a page invalidated since it was looked up? */
import type { Machine } from '../steps.ts';

/** INVALID_GPA as a frame number: no range. */
export const INVALID_GFN = 2 ** 52 - 1;

/**
 * Would a frame looked up since `seq` was read be stale? Call with mmu_lock held.
 * @kvm include/linux/kvm_host.h
 */
export const mmu_invalidate_retry_gfn = (m: Machine, seq: number, gfn: number): boolean => {
  const { vm } = m;
  const covered =
    vm.mmu_invalidate_range_start === INVALID_GFN ||
    (gfn >= vm.mmu_invalidate_range_start && gfn < vm.mmu_invalidate_range_end);
  return (vm.mmu_invalidate_in_progress !== 0 && covered) || vm.mmu_invalidate_seq !== seq;
};
