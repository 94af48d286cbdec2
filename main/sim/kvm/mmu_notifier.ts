/** KVM's side of the MMU notifier: zap, flush, and ask for a reload of the APIC-access page. */
import {
  mmuLockFree,
  mnInvalidateLockFree,
  write_lock_mmu,
  write_unlock_mmu,
} from '../host/locks.ts';
import { apicAccessGfn } from '../state/addresses.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import { KVM_REQ } from '../state/requests.ts';
import { type Body, kvm, type Machine, type MmuNotifierOps, type Steps } from '../steps.ts';
import { kvm_make_all_cpus_request } from './kvm_main.ts';
import { gfn_to_memslot, hvaInSlot, kvm_unmap_gfn_range } from './mmu/mmu.ts';
import { INVALID_GFN } from './mmu_invalidate.ts';
import { gfn_to_pfn_cache_invalidate_start } from './pfncache.ts';

const file = 'virt/kvm/kvm_main.c';

/** Mask of the memslots that a host virtual address backs: user space may map it twice. */
const slotsOfHva = (m: Machine, hva: number): number => {
  let mask = 0;
  for (const slot of m.vm.memslot) {
    const from = slot.userspace_addr;
    if (slot.used && hva >= from && hva < from + slot.npages * PAGE_SIZE) mask |= 1 << slot.index;
  }
  return mask;
};

/**
 * Flushes the TLBs of all vCPUs; the page-table writes precede the look at each `mode`.
 * @kvm virt/kvm/kvm_main.c
 */
export const kvm_flush_remote_tlbs = kvm(file, function* kvm_flush_remote_tlbs(m: Machine) {
  m.vm.stat.remote_tlb_flush_requests++;
  yield* kvm_make_all_cpus_request(m, KVM_REQ.TLB_FLUSH);
});

/** Widens the union of the ongoing ranges, which is never shrunk until all have ended. */
export const kvm_mmu_invalidate_range_add = (m: Machine, gfn: number): void => {
  const { vm } = m;
  const empty = vm.mmu_invalidate_range_start === INVALID_GFN;
  if (empty || gfn < vm.mmu_invalidate_range_start) vm.mmu_invalidate_range_start = gfn;
  if (empty || gfn + 1 > vm.mmu_invalidate_range_end) vm.mmu_invalidate_range_end = gfn + 1;
};

/** Zaps, and flushes if something was there; between the two, TLBs may hold what is gone. */
export function* zapAndFlush(m: Machine, zap: Steps<boolean> | Body<boolean>): Body<void> {
  m.vm.spec.zap_unflushed++;
  if (yield* zap) yield* kvm_flush_remote_tlbs(m);
  m.vm.spec.zap_unflushed--;
}

/** Unmaps the page in each of the slots; says whether TLBs have to be flushed. */
function* unmapInSlots(m: Machine, hva: number, slots: number): Body<boolean> {
  const ongoing = m.vm.spec.ongoing[m.current]!;
  let flush = false;
  for (const { index, base_gfn, userspace_addr } of m.vm.memslot) {
    if ((slots & (1 << index)) === 0) continue;
    const gfn = base_gfn + (hva - userspace_addr) / PAGE_SIZE;
    kvm_mmu_invalidate_range_add(m, gfn);
    ongoing.gfn = gfn;
    ongoing.active = true;
    const zapped: boolean = yield* kvm_unmap_gfn_range(m, index, gfn);
    flush ||= zapped;
  }
  return flush;
}

const handleHvaRange = kvm(
  file,
  function* __kvm_handle_hva_range(m: Machine, hva: number, slots: number) {
    const { vm } = m;
    yield m.park('lock mmu_lock for write', mmuLockFree);
    write_lock_mmu(m);
    yield m.step('raise mmu_invalidate_in_progress and set the range');
    if (vm.mmu_invalidate_in_progress === 0) {
      vm.mmu_invalidate_range_start = INVALID_GFN;
      vm.mmu_invalidate_range_end = INVALID_GFN;
    }
    vm.mmu_invalidate_in_progress++;
    vm.spec.invalidations++;
    yield* zapAndFlush(m, unmapInSlots(m, hva, slots));
    yield m.step('unlock mmu_lock');
    write_unlock_mmu(m);
  },
);

/**
 * Asks every vCPU for a reload if the range covers the APIC-access page. e649b3f0188f made this the
 * secondary hook, called where the primary entry is gone.
 */
const invalidate_range = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_arch_mmu_notifier_invalidate_range(m: Machine, hva: number) {
    const slot = gfn_to_memslot(m, apicAccessGfn);
    if (slot < 0 || m.vm.memslot[slot]!.invalid || hvaInSlot(m, slot, apicAccessGfn) !== hva)
      return;
    yield* kvm_make_all_cpus_request(m, KVM_REQ.APIC_PAGE_RELOAD);
  },
);

const invalidate_range_start = kvm(
  file,
  function* kvm_mmu_notifier_invalidate_range_start(m: Machine, hva: number, mayBlock: boolean) {
    yield m.park(
      'under mn_invalidate_lock: raise mn_active_invalidate_count',
      mnInvalidateLockFree,
    );
    m.vm.mn_active_invalidate_count++;
    m.vm.spec.held[m.current]!.notifying++;
    // Without nesting nobody in this VM has caches, and the list is empty.
    if (m.vm.enable_vmx) yield* gfn_to_pfn_cache_invalidate_start(m, hva, mayBlock);
    const slots = slotsOfHva(m, hva);
    if (slots !== 0) yield* handleHvaRange(m, hva, slots);
    // b1394e745b94 asked for the reload here, after mmu_lock was dropped.
    if (m.switch('apic-reload-hook') === 'range_start') yield* invalidate_range(m, hva);
  },
);

/** Bookkeeping of the checks: the interval is over, whatever slots its end finds. */
const noteEnd = (m: Machine): void => {
  const { spec } = m.vm;
  const ongoing = spec.ongoing[m.current]!;
  if (!ongoing.active) return;
  ongoing.active = false;
  spec.invalidations--;
};

const invalidate_range_end = kvm(
  file,
  function* kvm_mmu_notifier_invalidate_range_end(m: Machine, hva: number) {
    const { vm } = m;
    if (slotsOfHva(m, hva) !== 0) {
      yield m.park('lock mmu_lock for write', mmuLockFree);
      write_lock_mmu(m);
      yield m.step('raise mmu_invalidate_seq');
      vm.mmu_invalidate_seq++;
      yield m.step('lower mmu_invalidate_in_progress');
      vm.mmu_invalidate_in_progress--;
      noteEnd(m);
      vm.spec.ends++;
      yield m.step('unlock mmu_lock');
      write_unlock_mmu(m);
    }
    yield m.park(
      'under mn_invalidate_lock: lower mn_active_invalidate_count',
      mnInvalidateLockFree,
    );
    vm.mn_active_invalidate_count--;
    noteEnd(m);
    vm.spec.held[m.current]!.notifying--;
  },
);

/** What KVM registers with the host at boot. */
export const kvm_mmu_notifier_ops: MmuNotifierOps = {
  invalidate_range_start,
  invalidate_range,
  invalidate_range_end,
};
