/** The MMU: zapping EPT entries, and resolving EPT violations. */

import { put_page } from '../../host/frames.ts';
import {
  mmuLockFree,
  mmuLockReadable,
  read_lock_mmu,
  read_unlock_mmu,
  write_lock_mmu,
  write_unlock_mmu,
} from '../../host/locks.ts';
import { hva_to_pfn } from '../../host/page_table.ts';
import { mapSpte, spteOf } from '../../hw/ept.ts';
import { inveptSingleContext } from '../../hw/tlb.ts';
import { APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, eptpOf } from '../../state/addresses.ts';
import { PAGE_SIZE } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { kvm, type Machine } from '../../steps.ts';
import { EFAULT } from '../errno.ts';
import { kvm_make_all_cpus_request } from '../kvm_main.ts';
import { mmu_invalidate_retry_gfn } from '../mmu_invalidate.ts';
import { kvm_release_page_dirty } from '../pages.ts';

const file = 'arch/x86/kvm/mmu/mmu.c';

/**
 * Removes the entries of a gfn in all roots, under mmu_lock held for write; says whether TLBs have
 * to be flushed.
 * @kvm arch/x86/kvm/mmu/tdp_mmu.c
 */
export const zapAllRoots = kvm(
  'arch/x86/kvm/mmu/tdp_mmu.c',
  function* kvm_tdp_mmu_unmap_gfn_range(m: Machine, gfn: number) {
    let flush = false;
    for (const root of m.ept) {
      if (!root.used) continue;
      yield m.step('root {root}: zap the entry of gfn {gfn}', root.index, gfn);
      const index = spteOf(m, root.index, gfn);
      if (index < 0) continue;
      root.spte[index]!.present = false;
      m.vm.stat.sptezaps++;
      flush = true;
    }
    return flush;
  },
);

/**
 * Zaps a page of a memslot; of the APIC's private slot it also asks every vCPU for a reload.
 * @kvm arch/x86/kvm/mmu/mmu.c
 */
export const kvm_unmap_gfn_range = kvm(
  file,
  function* kvm_unmap_gfn_range(m: Machine, slot: number, gfn: number) {
    const flush = yield* zapAllRoots(m, gfn);
    if (
      m.vm.memslot[slot]!.id === APIC_ACCESS_PAGE_PRIVATE_MEMSLOT &&
      m.switch('apic-reload-hook') === 'standard'
    ) {
      yield* kvm_make_all_cpus_request(m, KVM_REQ.APIC_PAGE_RELOAD);
    }
    return flush;
  },
);

/** Index of the memslot of a gfn, −1 if there is none. @kvm include/linux/kvm_host.h */
export const gfn_to_memslot = (m: Machine, gfn: number): number => {
  for (const slot of m.vm.memslot) {
    if (slot.used && gfn >= slot.base_gfn && gfn < slot.base_gfn + slot.npages) return slot.index;
  }
  return -1;
};

export const hvaInSlot = (m: Machine, slot: number, gfn: number): number => {
  const { userspace_addr, base_gfn } = m.vm.memslot[slot]!;
  return userspace_addr + (gfn - base_gfn) * PAGE_SIZE;
};

/** What became of an EPT violation. @kvm arch/x86/kvm/mmu/mmu_internal.h: RET_PF_* */
export const RET_PF = { RETRY: 0, EMULATE: 1, FIXED: 2 } as const;

/** Is APICv on for the VM? @kvm arch/x86/kvm/x86.c: kvm_apicv_activated */
export const kvm_apicv_activated = (m: Machine): boolean => !m.vm.apicv_inhibit_reasons.any();

/** User space has nothing mapped where the memslot says its memory is. */
const NOT_MAPPED = 3;

/** The frame for a fault; a result of RET_PF_*, or NOT_MAPPED, is negative: −1 − RET_PF. */
const faultinPfn = kvm(file, function* kvm_mmu_faultin_pfn(m: Machine, gfn: number, seq: number) {
  yield m.step('look the memslot up');
  const slot = gfn_to_memslot(m, gfn);
  if (slot < 0) return -1 - RET_PF.EMULATE;
  if (m.vm.memslot[slot]!.invalid) return -1 - RET_PF.RETRY;
  if (m.vm.memslot[slot]!.id === APIC_ACCESS_PAGE_PRIVATE_MEMSLOT && !kvm_apicv_activated(m)) {
    return -1 - RET_PF.EMULATE;
  }
  yield m.step('is an invalidation of gfn {gfn} under way? (unlocked, a hint)', gfn);
  if (mmu_invalidate_retry_gfn(m, seq, gfn)) return -1 - RET_PF.RETRY;
  const pfn: number = yield* hva_to_pfn(m, hvaInSlot(m, slot, gfn));
  if (pfn < 0) return -1 - NOT_MAPPED;
  yield m.step('and now that pfn {pfn} is known? (unlocked, a hint)', pfn);
  if (!mmu_invalidate_retry_gfn(m, seq, gfn)) return pfn;
  put_page(m, pfn);
  return -1 - RET_PF.RETRY;
});

/**
 * Resolves an EPT violation: installs the entry, or says that the access has to be emulated or
 * tried again. −EFAULT: user space has taken the memory away.
 * @kvm arch/x86/kvm/mmu/mmu.c
 * @omits huge pages, write protection, fast page faults
 */
export const kvm_tdp_page_fault = kvm(
  file,
  function* kvm_tdp_page_fault(m: Machine, vcpuIndex: number, gpa: number) {
    const vcpu = m.vcpu[vcpuIndex]!;
    const gfn = Math.floor(gpa / PAGE_SIZE);
    yield m.step('sample mmu_invalidate_seq');
    const seq = m.vm.mmu_invalidate_seq;
    const pfn: number = yield* faultinPfn(m, gfn, seq);
    if (pfn === -1 - NOT_MAPPED) return -EFAULT;
    if (pfn < 0) return -1 - pfn;

    yield m.park('lock mmu_lock for read', mmuLockReadable);
    read_lock_mmu(m);
    yield m.step('is_page_fault_stale: did an invalidation cover gfn {gfn} since?', gfn);
    const root = vcpu.root_mmu.root;
    const stale = m.ept[root]!.invalid || mmu_invalidate_retry_gfn(m, seq, gfn);
    if (!stale) {
      yield m.step('map gfn {gfn} to pfn {pfn} in the EPT', gfn, pfn);
      if (!mapSpte(m, root, gfn, pfn)) throw new Error(`model: EPT root ${root} has no free entry`);
    }
    yield m.step('unlock mmu_lock');
    read_unlock_mmu(m);
    yield m.step('release pfn {pfn}', pfn);
    if (stale) put_page(m, pfn);
    else kvm_release_page_dirty(m, pfn);
    return stale ? RET_PF.RETRY : RET_PF.FIXED;
  },
);

/**
 * Gives the vCPU a root and loads it; all vCPUs with the same role share one.
 * @kvm arch/x86/kvm/mmu/mmu.c
 */
export const kvm_mmu_load = kvm(file, function* kvm_mmu_load(m: Machine, vcpuIndex: number) {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield m.park('lock mmu_lock for write', mmuLockFree);
  write_lock_mmu(m);
  yield m.step('find or make the root');
  const root = m.ept.find((r) => r.used && !r.invalid) ?? m.ept.find((r) => !r.used);
  if (root === undefined) throw new Error('model: all EPT roots are in use');
  root.used = true;
  root.refcount++;
  vcpu.root_mmu.root = root.index;
  yield m.step('unlock mmu_lock');
  write_unlock_mmu(m);
  yield m.step('VMWRITE EPT_POINTER');
  vcpu.vmcs01.ept_pointer = eptpOf(root.index);
  // A root that is used again may have left translations behind.
  yield m.step('flush the current EP4TA');
  vcpu.stat.tlb_flush_current++;
  inveptSingleContext(m, vcpu.cpu, root.index);
});
