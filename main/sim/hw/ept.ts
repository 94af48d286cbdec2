/** Walking and changing an EPT; the walk is the CPU's, the changes are KVM's. */
import type { Machine } from '../steps.ts';

/** No frame of L1: the MMU notifier does not find the entry. */
const NO_GFN = 2 ** 52 - 1;

/** Index of the present entry for a gfn, −1 if there is none. */
export const spteOf = (m: Machine, root: number, gfn: number): number => {
  for (const spte of m.ept[root]!.spte) if (spte.present && spte.gfn === gfn) return spte.index;
  return -1;
};

/**
 * Index of the present entry that maps a frame of L1's memory, −1 if there is none. In EPT01 that
 * is the entry of the same number.
 */
export const spteOfL1Frame = (m: Machine, root: number, gfn: number): number => {
  for (const spte of m.ept[root]!.spte) if (spte.present && spte.l1_gfn === gfn) return spte.index;
  return -1;
};

/** Maps a gfn, which is the frame `l1Gfn` of L1's memory; false if the table has no room. */
export const mapSpte = (
  m: Machine,
  root: number,
  gfn: number,
  { pfn, l1Gfn }: { readonly pfn: number; readonly l1Gfn: number },
): boolean => {
  const table = m.ept[root]!.spte;
  const spte =
    table.find((entry) => entry.present && entry.gfn === gfn) ??
    table.find((entry) => !entry.present);
  if (spte === undefined) return false;
  spte.gfn = gfn;
  spte.l1_gfn = l1Gfn;
  spte.pfn = pfn;
  spte.writable = true;
  if (spte.mmio) spte.mmio = false;
  spte.present = true;
  return true;
};

/** An entry with bits that no processor accepts: the frame of L1 behind it is none. */
export const mapMmioSpte = (m: Machine, root: number, gfn: number, generation: number): void => {
  if (!mapSpte(m, root, gfn, { pfn: -1, l1Gfn: NO_GFN })) return;
  const spte = m.ept[root]!.spte[spteOf(m, root, gfn)]!;
  spte.mmio = true;
  spte.generation = generation;
};
