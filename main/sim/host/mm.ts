/**
 * The memory manager: changes of the primary page table, each between the start and the end of an
 * MMU-notifier interval.
 */
import { hvaOfApicAccessPage } from '../state/addresses.ts';
import { linux, type Machine } from '../steps.ts';
import { alloc_page, copy_page, put_page } from './frames.ts';
import { PFN_ERR, pteOf } from './page_table.ts';

/**
 * Ends what the page-table change started: from here on a check may hold vCPUs to the new mapping
 * (`inv-reload-pending-during-inv`).
 */
const noteChange = (m: Machine, hva: number): void => {
  if (hva === hvaOfApicAccessPage) m.vm.spec.apic_pte_changed = true;
};

const forgetChange = (m: Machine): void => {
  if (m.vm.spec.apic_pte_changed) m.vm.spec.apic_pte_changed = false;
};

/** @kvm mm/mmu_notifier.c */
const mmu_notifier_invalidate_range_start = linux(
  'mm/mmu_notifier.c',
  function* mmu_notifier_invalidate_range_start(m: Machine, hva: number) {
    for (const ops of m.notifiers) yield* ops.invalidate_range_start(m, hva);
  },
);

/** @kvm mm/mmu_notifier.c */
const mmu_notifier_invalidate_range_end = linux(
  'mm/mmu_notifier.c',
  function* mmu_notifier_invalidate_range_end(m: Machine, hva: number) {
    for (const ops of m.notifiers) yield* ops.invalidate_range_end(m, hva);
  },
);

/**
 * Clears the entry, flushes the host TLB and tells secondary MMUs; gives the frame that was mapped,
 * or PFN_ERR. The frame number stays in the entry as what it was.
 * @kvm mm/rmap.c: ptep_clear_flush and the ->invalidate_range call behind it
 */
const ptep_clear_flush_notify = linux(
  'mm/rmap.c',
  function* ptep_clear_flush_notify(m: Machine, hva: number, migrating: boolean) {
    yield m.step('clear the primary PTE and flush the host TLB');
    const pte = m.pte[pteOf(m, hva)];
    if (pte === undefined || !pte.present) return PFN_ERR;
    pte.present = false;
    pte.migrating = migrating;
    const old = pte.pfn;
    for (const ops of m.notifiers) yield* ops.invalidate_range(m, hva);
    return old;
  },
);

/** Replaces the migration entry by a mapping of the new frame, or of the old one. */
const remove_migration_pte = (m: Machine, hva: number, old: number): void => {
  const pte = m.pte[pteOf(m, hva)];
  // Somebody unmapped the page meanwhile: nothing is left to map.
  if (pte === undefined || !pte.migrating || pte.pfn !== old) {
    put_page(m, old);
    return;
  }
  const held = m.frame[old]!.refcount !== 1 || m.frame[old]!.pincount !== 0;
  const target = held ? PFN_ERR : alloc_page(m);
  if (target >= 0) {
    copy_page(m, old, target);
    pte.pfn = target;
    noteChange(m, hva);
    put_page(m, old);
  }
  pte.migrating = false;
  pte.present = true;
};

/**
 * Moves a page to another frame. A frame that somebody else holds a reference to, or that is
 * pinned, stays where it is.
 * @kvm mm/migrate.c
 */
export const migrate_page = linux('mm/migrate.c', function* migrate_pages(m: Machine, hva: number) {
  yield* mmu_notifier_invalidate_range_start(m, hva);
  const old = yield* ptep_clear_flush_notify(m, hva, true);
  if (old >= 0) {
    yield m.step(
      'pfn {old}: copy it to a new frame, map that and free the old one, ' +
        'unless somebody holds a reference',
      old,
    );
    remove_migration_pte(m, hva, old);
  }
  yield* mmu_notifier_invalidate_range_end(m, hva);
  forgetChange(m);
});

/** Takes the entry away: the mapping's reference goes with it, unless a migration holds it. */
const dropMapping = (m: Machine, hva: number, old: number): void => {
  const pte = m.pte[pteOf(m, hva)];
  // A fault may have put a new frame there meanwhile: that one stays.
  if (pte !== undefined && !pte.present && pte.pfn === old) pte.pfn = PFN_ERR;
  noteChange(m, hva);
  put_page(m, old);
};

/**
 * Drops the page: MADV_DONTNEED. A frame that somebody else holds lives on until that reference
 * goes, but the next fault maps a new one.
 * @kvm mm/madvise.c
 */
export const madvise_dontneed = linux(
  'mm/madvise.c',
  function* madvise_dontneed_single_vma(m: Machine, hva: number) {
    yield* mmu_notifier_invalidate_range_start(m, hva);
    const old = yield* ptep_clear_flush_notify(m, hva, false);
    if (old >= 0) {
      yield m.step('pfn {old}: drop the reference of the mapping', old);
      dropMapping(m, hva, old);
    }
    yield* mmu_notifier_invalidate_range_end(m, hva);
    forgetChange(m);
  },
);

/** Removes the mapping for good. @kvm mm/mmap.c */
export const vm_munmap = linux('mm/mmap.c', function* vm_munmap(m: Machine, hva: number) {
  yield* mmu_notifier_invalidate_range_start(m, hva);
  yield m.step('remove the primary PTE and drop the reference of the mapping');
  const pte = m.pte[pteOf(m, hva)];
  if (pte !== undefined) {
    const mapped = pte.present;
    pte.present = false;
    pte.migrating = false;
    pte.used = false;
    if (mapped) put_page(m, pte.pfn);
  }
  yield* mmu_notifier_invalidate_range_end(m, hva);
});
