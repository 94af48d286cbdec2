/** Page frames: allocation, references and pins. Frames without struct page have neither. */
import { firstFrame } from '../state/machine.ts';
import { type Machine, MachineLimit } from '../steps.ts';

const claim = (m: Machine, pfn: number): number => {
  const frame = m.frame[pfn]!;
  frame.allocated = true;
  frame.freed = false;
  frame.refcount = 1;
  frame.pincount = 0;
  frame.has_struct_page = true;
  frame.dirty = false;
  frame.accessed = false;
  return pfn;
};

/**
 * Takes a frame with one reference. Frames that were never used come first,
 * so that a use after free is not hidden by a quick reuse.
 * @kvm mm/page_alloc.c
 */
export const alloc_page = (m: Machine): number => {
  let reused = -1;
  for (let pfn = firstFrame; pfn < m.frame.length; pfn++) {
    const frame = m.frame[pfn]!;
    if (frame.allocated) continue;
    if (!frame.freed) return claim(m, pfn);
    if (reused < 0) reused = pfn;
  }
  if (reused < 0) {
    throw new MachineLimit(
      `all ${m.frame.length} page frames are in use; give the machine more with \`frames\``,
    );
  }
  return claim(m, reused);
};

/** @kvm include/linux/mm.h */
export const get_page = (m: Machine, pfn: number): void => {
  if (m.frame[pfn]!.has_struct_page) m.frame[pfn]!.refcount++;
};

const free = (m: Machine, pfn: number): void => {
  m.frame[pfn]!.allocated = false;
  m.frame[pfn]!.freed = true;
};

/**
 * Drops a reference; the last one frees the frame, unless it is pinned.
 * @kvm include/linux/mm.h
 */
export const put_page = (m: Machine, pfn: number): void => {
  const frame = m.frame[pfn]!;
  if (!frame.has_struct_page) return;
  frame.refcount--;
  if (frame.refcount === 0 && frame.pincount === 0) free(m, pfn);
};

/** Takes a pin: the frame neither goes nor moves. @kvm mm/gup.c: FOLL_PIN */
export const pin_page = (m: Machine, pfn: number): void => {
  if (m.frame[pfn]!.has_struct_page) m.frame[pfn]!.pincount++;
};

/** @kvm mm/gup.c */
export const unpin_user_page = (m: Machine, pfn: number): void => {
  const frame = m.frame[pfn]!;
  frame.pincount--;
  if (frame.refcount === 0 && frame.pincount === 0) free(m, pfn);
};

/** A frame whose owner, a driver or the boot line, knows of no user but its own mapping. */
export const disown_page = (m: Machine, pfn: number): void => {
  const frame = m.frame[pfn]!;
  frame.has_struct_page = false;
  frame.refcount = 0;
};

/**
 * The primary PTE no longer maps the frame. What has no struct page goes back to its owner, whoever
 * else uses it: nothing counts its users.
 */
export const drop_mapping = (m: Machine, pfn: number): void => {
  if (m.frame[pfn]!.has_struct_page) put_page(m, pfn);
  else free(m, pfn);
};

/** Copies content and tag; the bytes word by word where they differ. */
export const copy_page = (m: Machine, from: number, to: number): void => {
  const source = m.frame[from]!;
  const target = m.frame[to]!;
  if (target.tag !== source.tag) target.tag = source.tag;
  for (let offset = 0; offset < source.data.length; offset += 4) {
    const value = source.data.u32(offset);
    if (target.data.u32(offset) !== value) target.data.setU32(offset, value);
  }
};
