/** The primary page table of the VMM process, and looking pages up in it. */
import { linux, type Machine } from '../steps.ts';
import { alloc_page, disown_page, get_page } from './frames.ts';

/** KVM_PFN_ERR_FAULT and its like: no frame. */
export const PFN_ERR = -1;

/** Index of the entry for a host virtual address, −1 if nothing is mapped there. */
export const pteOf = (m: Machine, hva: number): number => {
  for (const pte of m.pte) if (pte.used && pte.hva === hva) return pte.index;
  return -1;
};

const notMigrating = (m: Machine, pte: number): boolean => !m.pte[pte]!.migrating;

/** How a look-up holds the frame: FOLL_GET or FOLL_PIN. */
export type Hold = (m: Machine, pfn: number) => void;

/** A new, empty frame for an entry. */
const faultIn = (m: Machine, index: number): void => {
  const pte = m.pte[index]!;
  pte.pfn = alloc_page(m);
  if (pte.pfnmap) disown_page(m, pte.pfn);
  pte.present = true;
};

/**
 * The frame behind an address, with a reference taken, or a pin; faults it in if the entry is not
 * present.
 * @kvm virt/kvm/kvm_main.c (over get_user_pages)
 */
export const hva_to_pfn = linux(
  'mm/gup.c',
  function* get_user_pages_unlocked(m: Machine, hva: number, hold: Hold = get_page) {
    const index = pteOf(m, hva);
    yield m.step('read the primary PTE');
    const pte = m.pte[index];
    if (pte === undefined || !pte.used) return PFN_ERR;
    if (pte.present) {
      hold(m, pte.pfn);
      return pte.pfn;
    }
    yield m.park('fault the page in; a migration entry makes it wait', notMigrating, index);
    if (!pte.used) return PFN_ERR;
    if (!pte.present) faultIn(m, index);
    hold(m, pte.pfn);
    return pte.pfn;
  },
);
