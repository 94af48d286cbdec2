/** The dirty log of a memslot: which pages somebody has written to. */
import type { Machine } from '../steps.ts';
import { gfn_to_memslot } from './mmu/mmu.ts';

/**
 * Marks a guest page as written to.
 * @kvm virt/kvm/kvm_main.c
 * @omits the dirty ring, and that user space has to turn the log on
 */
export const kvm_vcpu_mark_page_dirty = (m: Machine, gfn: number): void => {
  const slot = m.vm.memslot[gfn_to_memslot(m, gfn)];
  slot?.dirty_bitmap.set(gfn - slot.base_gfn);
};
