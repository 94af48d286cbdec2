/** The current vmcs12: from guest memory into KVM's copy, and back. */
import { put_page } from '../../../host/frames.ts';
import { hva_to_pfn } from '../../../host/page_table.ts';
import { readFrame, writeFrame } from '../../../hw/memory.ts';
import { INVALID_GPA } from '../../../state/addresses.ts';
import { PAGE_SIZE } from '../../../state/machine.ts';
import { vmcs12Bytes } from '../../../state/vmcs12.ts';
import { type Body, baseOf, kvm, type Machine } from '../../../steps.ts';
import { freeGuestRoot, gfn_to_memslot, hvaInSlot } from '../../mmu/mmu.ts';
import { usesCaches } from './caches.ts';
import { vmx_nested_context_load } from './context.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** The frame behind a guest address, with a reference; −1 if there is no memory. */
export function* guestFrameOf(m: Machine, gpa: number): Body<number> {
  const gfn = Math.floor(gpa / PAGE_SIZE);
  const slot = gfn_to_memslot(m, gfn);
  if (slot < 0) return -1;
  return yield* hva_to_pfn(m, hvaInSlot(m, slot, gfn));
}

/** kvm_read_guest of 4 bytes; −1 if there is no memory. */
export function* readGuestWord(m: Machine, gpa: number): Body<number> {
  const pfn: number = yield* guestFrameOf(m, gpa);
  if (pfn < 0) return -1;
  yield m.step('read guest memory in pfn {pfn}', pfn);
  const word = readFrame(m, pfn, gpa % PAGE_SIZE);
  put_page(m, pfn);
  return word;
}

/** kvm_write_guest of 4 bytes; nothing happens where there is no memory. */
export function* writeGuestWord(m: Machine, gpa: number, word: number): Body<void> {
  const pfn: number = yield* guestFrameOf(m, gpa);
  if (pfn < 0) return;
  yield m.step('write guest memory in pfn {pfn}', pfn);
  writeFrame(m, pfn, gpa % PAGE_SIZE, word);
  put_page(m, pfn);
}

/** Copies vmcs12 between its page and KVM's copy, as one step: only L1 may touch the page now. */
function* copyVmcs12(m: Machine, vcpu: number, gpa: number, toCache: boolean): Body<void> {
  const pfn: number = yield* guestFrameOf(m, gpa);
  if (pfn < 0) return;
  yield m.step('copy vmcs12 between pfn {pfn} and its copy', pfn);
  const first = baseOf(m.vcpu[vcpu]!.nested.cached_vmcs12);
  for (let offset = 0; offset < vmcs12Bytes; offset += 4) {
    const cached = m.arena.load(first + offset / 4);
    const stored = readFrame(m, pfn, offset);
    if (cached === stored) continue;
    if (toCache) m.arena.store(first + offset / 4, stored);
    else writeFrame(m, pfn, offset, cached);
  }
  put_page(m, pfn);
}

/** Copies a vmcs12 from its page. @kvm nested.c: handle_vmptrld */
export const loadVmcs12 = (m: Machine, vcpu: number, vmptr: number): Body<void> =>
  copyVmcs12(m, vcpu, vmptr, true);

/** Makes a vmcs12 current; its copy is there or follows. */
export const set_current_vmptr = kvm(
  file,
  function* set_current_vmptr(m: Machine, vcpu: number, vmptr: number) {
    const { nested } = m.vcpu[vcpu]!;
    yield m.step('current_vmptr, dirty_vmcs12, force_msr_bitmap_recalc');
    nested.current_vmptr = vmptr;
    nested.dirty_vmcs12 = true;
    nested.force_msr_bitmap_recalc = true;
    if (usesCaches(m)) yield* vmx_nested_context_load(m, vcpu, vmptr);
  },
);

/** The current vmcs12 goes back to its page; there is none any more. */
export const nested_release_vmcs12 = kvm(
  file,
  function* nested_release_vmcs12(m: Machine, vcpu: number) {
    const { nested } = m.vcpu[vcpu]!;
    const { current_vmptr: vmptr } = nested;
    if (vmptr === INVALID_GPA) return;
    nested.posted_intr_nv = -1;
    yield* copyVmcs12(m, vcpu, vmptr, false);
    yield m.step('free the roots of L2; current_vmptr = none');
    freeGuestRoot(m, vcpu);
    nested.current_vmptr = INVALID_GPA;
  },
);
