/** The dirty log of a memslot: which pages somebody has written to. */

import { PAGE_SIZE } from '../state/machine.ts';
import type { Machine } from '../steps.ts';
import { gfn_to_memslot } from './mmu/mmu.ts';

/** Bookkeeping of the checks: what the CPU wrote there for an L2 is in the log. */
const noteLogged = (m: Machine, gfn: number): void => {
  for (const { spec, nested } of m.vcpu) {
    const { virtual_apic_page_addr, posted_intr_desc_addr } = nested.cached_vmcs12;
    if (spec.vapic_unlogged && Math.floor(virtual_apic_page_addr / PAGE_SIZE) === gfn) {
      spec.vapic_unlogged = false;
    }
    if (spec.pi_desc_unlogged && Math.floor(posted_intr_desc_addr / PAGE_SIZE) === gfn) {
      spec.pi_desc_unlogged = false;
    }
  }
};

/**
 * Marks a guest page as written to.
 * @kvm virt/kvm/kvm_main.c
 * @omits the dirty ring, and that user space has to turn the log on
 */
export const kvm_vcpu_mark_page_dirty = (m: Machine, gfn: number): void => {
  const slot = m.vm.memslot[gfn_to_memslot(m, gfn)];
  slot?.dirty_bitmap.set(gfn - slot.base_gfn);
  noteLogged(m, gfn);
};
