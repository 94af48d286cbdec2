/** References to page frames that KVM took for a mapping, and what it says of the frame then. */
import { put_page } from '../host/frames.ts';
import type { Machine } from '../steps.ts';

/** The frame was used: reclaim leaves it alone for a while. @kvm virt/kvm/kvm_main.c */
export const kvm_release_page_clean = (m: Machine, pfn: number): void => {
  const frame = m.frame[pfn]!;
  if (!frame.accessed) frame.accessed = true;
  put_page(m, pfn);
};

/** The guest may write to it from now on, which nobody else sees. @kvm virt/kvm/kvm_main.c */
export const kvm_release_page_dirty = (m: Machine, pfn: number): void => {
  const frame = m.frame[pfn]!;
  if (!frame.dirty) frame.dirty = true;
  kvm_release_page_clean(m, pfn);
};
