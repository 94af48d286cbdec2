// From guest frames to host frames as the primary page table has them; what is wrong with others.

import { type MachineView, PAGE_SIZE } from '../../main/sim/state/machine.ts';

export type Trouble = 'freed' | 'stale';

/** Host virtual address of a guest frame, −1 outside all memslots. */
export const hvaOf = (m: MachineView, gfn: number): number => {
  const slot = m.vm.memslot.find(
    (one) => one.used && gfn >= one.base_gfn && gfn < one.base_gfn + one.npages,
  );
  return slot === undefined ? -1 : slot.userspace_addr + (gfn - slot.base_gfn) * PAGE_SIZE;
};

/** The frame that the primary page table maps for a guest frame, −1 for none. */
export const mappedFrame = (m: MachineView, gfn: number): number => {
  const hva = hvaOf(m, gfn);
  return m.pte.find((pte) => pte.used && pte.present && pte.hva === hva)?.pfn ?? -1;
};

export const gfnOf = (gpa: number): number => Math.floor(gpa / PAGE_SIZE);

/** The frame of a host-physical address; −1 for none, and for an address outside the memory. */
export const frameOf = (m: MachineView, hpa: number): number => {
  const pfn = Math.floor(hpa / PAGE_SIZE);
  return pfn > 0 && pfn < m.frame.length ? pfn : -1;
};

/** What is wrong with naming a frame for a page that the primary page table maps to another. */
export const troubleOf = (m: MachineView, pfn: number, mapped: number): Trouble | undefined => {
  if (pfn < 0) return undefined;
  if (m.frame[pfn]?.freed === true) return 'freed';
  return mapped >= 0 && pfn !== mapped ? 'stale' : undefined;
};
