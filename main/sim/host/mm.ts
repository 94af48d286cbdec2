/**
 * The memory manager: changes of the primary page table, each between the start and the end of an
 * MMU-notifier interval.
 */
import { hvaOfApicAccessPage } from '../state/addresses.ts';
import { type Body, linux, type Machine, MachineLimit } from '../steps.ts';
import { alloc_page, copy_page, drop_mapping, put_page } from './frames.ts';
import { PFN_ERR, pteOf } from './page_table.ts';

/** Bookkeeping of the checks: the primary PTE of the APIC-access page has changed. */
const noteChange = (m: Machine, hva: number): void => {
  if (hva === hvaOfApicAccessPage) m.vm.spec.apic_pte_changed++;
};

const forgetChange = (m: Machine, hva: number, changed: boolean): void => {
  if (changed && hva === hvaOfApicAccessPage) m.vm.spec.apic_pte_changed--;
};

const mmu_notifier_invalidate_range_start = linux(
  'include/linux/mmu_notifier.h',
  function* mmu_notifier_invalidate_range_start(m: Machine, hva: number, mayBlock: boolean) {
    for (const ops of m.notifiers) yield* ops.invalidate_range_start(m, hva, mayBlock);
  },
);

const mmu_notifier_invalidate_range_end = linux(
  'include/linux/mmu_notifier.h',
  function* mmu_notifier_invalidate_range_end(m: Machine, hva: number) {
    for (const ops of m.notifiers) yield* ops.invalidate_range_end(m, hva);
  },
);

/**
 * Clears the entry, flushes the host TLB and, before v6.6, tells secondary MMUs; gives the frame
 * that was mapped, or PFN_ERR. The frame number stays in the entry as what it was.
 */
function* clearPte(m: Machine, hva: number, migrating: boolean): Body<number> {
  yield m.step('clear the primary PTE and flush the host TLB');
  const pte = m.pte[pteOf(m, hva)];
  if (pte === undefined) return PFN_ERR;
  if (!pte.present) {
    // Unmapping takes a migration entry away: the migration will find nothing left to map.
    if (pte.migrating && !migrating) {
      pte.migrating = false;
      pte.pfn = PFN_ERR;
    }
    return PFN_ERR;
  }
  pte.present = false;
  pte.migrating = migrating;
  const old = pte.pfn;
  if (m.switch('apic-reload-hook') !== 'invalidate_range') return old;
  const announced = hva === hvaOfApicAccessPage;
  if (announced) m.vm.spec.apic_unannounced++;
  for (const ops of m.notifiers) yield* ops.invalidate_range(m, hva);
  if (announced) m.vm.spec.apic_unannounced--;
  return old;
}

const try_to_migrate_one = linux(
  'mm/rmap.c',
  function* try_to_migrate_one(m: Machine, hva: number) {
    const old: number = yield* clearPte(m, hva, true);
    return old;
  },
);

const zap_page_range_single = linux(
  'mm/memory.c',
  function* zap_page_range_single(m: Machine, hva: number) {
    const old: number = yield* clearPte(m, hva, false);
    return old;
  },
);

/** Replaces the migration entry by a mapping of the new frame, or of the old one; was it moved? */
const remove_migration_pte = (m: Machine, hva: number, old: number): boolean => {
  const pte = m.pte[pteOf(m, hva)];
  // Somebody unmapped the page meanwhile: nothing is left to map.
  if (pte === undefined || !pte.migrating || pte.pfn !== old) {
    put_page(m, old);
    return false;
  }
  const held = m.frame[old]!.refcount !== 1 || m.frame[old]!.pincount !== 0;
  if (!held) {
    const target = alloc_page(m);
    copy_page(m, old, target);
    pte.pfn = target;
    noteChange(m, hva);
    put_page(m, old);
  }
  pte.migrating = false;
  pte.present = true;
  return !held;
};

/**
 * Moves a page to another frame. A frame that somebody else holds a reference to, or that is
 * pinned, stays where it is.
 * @kvm mm/migrate.c
 * @omits that newer kernels end the interval once the migration entry stands, before the copy
 */
export const migrate_page = linux('mm/migrate.c', function* migrate_pages(m: Machine, hva: number) {
  let moved = false;
  // What has no struct page is on no list of pages that could be moved.
  if (m.pte[pteOf(m, hva)]?.pfnmap === true) return;
  yield* mmu_notifier_invalidate_range_start(m, hva, true);
  const old = yield* try_to_migrate_one(m, hva);
  if (old >= 0) {
    yield m.step(
      'pfn {old}: copy it to a new frame, map that and free the old one, ' +
        'unless somebody holds a reference',
      old,
    );
    moved = remove_migration_pte(m, hva, old);
  }
  yield* mmu_notifier_invalidate_range_end(m, hva);
  forgetChange(m, hva, moved);
});

/** Unmaps a page, drops its frame, and lets the next access fault a new one in. */
function* zapPage(m: Machine, hva: number, mayBlock: boolean): Body<void> {
  yield* mmu_notifier_invalidate_range_start(m, hva, mayBlock);
  const old = yield* zap_page_range_single(m, hva);
  if (old >= 0) {
    const pte = m.pte[pteOf(m, hva)];
    // A fault may have put a new frame there meanwhile: that one stays.
    if (pte !== undefined && !pte.present && pte.pfn === old) pte.pfn = PFN_ERR;
    noteChange(m, hva);
  }
  yield* mmu_notifier_invalidate_range_end(m, hva);
  forgetChange(m, hva, old >= 0);
  if (old < 0) return;
  yield m.step('tlb_finish_mmu: drop the reference of the mapping to pfn {old}', old);
  drop_mapping(m, old);
}

/**
 * Drops the page: MADV_DONTNEED. A frame that somebody else holds lives on until that reference
 * goes, but the next fault maps a new one. The frame goes when the TLB gather is finished, behind
 * the end of the interval. Memory without struct page goes back to its owner, which stands here for
 * unmap_mapping_range of a driver.
 * @kvm mm/madvise.c
 */
export const madvise_dontneed = linux(
  'mm/madvise.c',
  function* madvise_dontneed_single_vma(m: Machine, hva: number) {
    yield* zapPage(m, hva, true);
  },
);

/**
 * The OOM killer takes a page of a process that it has killed: the same, but nobody is waited for.
 * @kvm mm/oom_kill.c
 */
export const oom_reap = linux(
  'mm/oom_kill.c',
  function* __oom_reap_task_mm(m: Machine, hva: number) {
    yield* zapPage(m, hva, false);
  },
);

/** Removes the mapping for good. @kvm mm/mmap.c */
export const vm_munmap = linux('mm/mmap.c', function* vm_munmap(m: Machine, hva: number) {
  yield* mmu_notifier_invalidate_range_start(m, hva, true);
  yield m.step('remove the primary PTE');
  let old = PFN_ERR;
  const pte = m.pte[pteOf(m, hva)];
  if (pte !== undefined) {
    if (pte.present) old = pte.pfn;
    pte.present = false;
    pte.migrating = false;
    pte.used = false;
  }
  yield* mmu_notifier_invalidate_range_end(m, hva);
  if (old < 0) return;
  yield m.step('tlb_finish_mmu: drop the reference of the mapping to pfn {old}', old);
  drop_mapping(m, old);
});

/**
 * mmap with MAP_FIXED: what was mapped there goes, and nothing is present until the next fault.
 * @omits mmap_lock: a fault that comes in between finds the new mapping
 */
export const vm_mmap = linux('mm/mmap.c', function* mmap_region(m: Machine, hva: number) {
  if (pteOf(m, hva) >= 0) {
    yield* zapPage(m, hva, true);
    return;
  }
  yield m.step('add a mapping without a frame');
  const free = m.pte.find(({ used }) => !used);
  if (free === undefined)
    throw new MachineLimit(`all ${m.pte.length} pages of user space are in use`);
  free.hva = hva;
  free.pfn = PFN_ERR;
  free.writable = true;
  free.used = true;
});
