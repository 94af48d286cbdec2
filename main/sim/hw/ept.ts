/** Walking and changing an EPT; the walk is the CPU's, the changes are KVM's. */
import type { Machine } from '../steps.ts';

/** Index of the present entry for a gfn, −1 if there is none. */
export const spteOf = (m: Machine, root: number, gfn: number): number => {
  for (const spte of m.ept[root]!.spte) if (spte.present && spte.gfn === gfn) return spte.index;
  return -1;
};

/** Maps a gfn; false if the table has no room. */
export const mapSpte = (m: Machine, root: number, gfn: number, pfn: number): boolean => {
  const table = m.ept[root]!.spte;
  const spte =
    table.find((entry) => entry.present && entry.gfn === gfn) ??
    table.find((entry) => !entry.present);
  if (spte === undefined) return false;
  spte.gfn = gfn;
  spte.pfn = pfn;
  spte.writable = true;
  spte.present = true;
  return true;
};
