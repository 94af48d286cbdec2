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
import { hva_to_pfn, pteOf } from '../../host/page_table.ts';
import { mapSpte, spteOfL1Frame } from '../../hw/ept.ts';
import { readFrame } from '../../hw/memory.ts';
import { inveptSingleContext } from '../../hw/tlb.ts';
import { currentVmcs, secondaryOn } from '../../hw/vmcs.ts';
import {
  APIC_ACCESS_PAGE_PRIVATE_MEMSLOT,
  apicAccessGfn,
  eptpOf,
  INVALID_GPA,
} from '../../state/addresses.ts';
import { type MachineView, PAGE_SIZE } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { secondaryControl } from '../../state/vmcs.ts';
import { type Body, kvm, type Machine, MachineLimit } from '../../steps.ts';
import { EFAULT } from '../errno.ts';
import { kvm_make_all_cpus_request } from '../kvm_main.ts';
import { mmu_invalidate_retry_gfn } from '../mmu_invalidate.ts';
import { kvm_release_page_dirty } from '../pages.ts';
import { installMmioSpte } from './mmio_spte.ts';
import { RET_PF } from './ret_pf.ts';

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
      const index = spteOfL1Frame(m, root.index, gfn);
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

/** Is APICv on for the VM? @kvm arch/x86/kvm/x86.c: kvm_apicv_activated */
export const kvm_apicv_activated = (m: Machine): boolean => !m.vm.apicv_inhibit_reasons.any();

/** The first word of a page of guest memory, as KVM reads it; 0 if the page has no frame. */
const firstWordOf = (m: Machine, gfn: number): number => {
  const slot = gfn_to_memslot(m, gfn);
  if (slot < 0) return 0;
  const pte = m.pte[pteOf(m, hvaInSlot(m, slot, gfn))];
  return pte?.present === true ? readFrame(m, pte.pfn, 0) : 0;
};

/**
 * The L1 address behind an address of L2. The tables that L1 keeps are reduced to what APIC
 * virtualization needs: every page is mapped to the same number, but for 0xfee00, whose frame is
 * the first word of the page that the EPTP names. There 0 means the same number too.
 * @kvm arch/x86/kvm/mmu/mmu.c
 */
export const translate_nested_gpa = (m: Machine, vcpu: number, gpa: number): number => {
  const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
  const gfn = Math.floor(gpa / PAGE_SIZE);
  if (gfn !== apicAccessGfn || !secondaryOn(vmcs12, secondaryControl.EPT)) return gpa;
  const l1Gfn = firstWordOf(m, Math.floor(vmcs12.ept_pointer / PAGE_SIZE));
  return l1Gfn === 0 ? gpa : l1Gfn * PAGE_SIZE + (gpa % PAGE_SIZE);
};

/** The MMU context of the level of guest that runs. @kvm arch/x86/kvm/mmu.h: vcpu->arch.mmu */
export const activeMmu = (m: Machine, vcpu: number): MachineView['vcpu'][number]['root_mmu'] => {
  const target = m.vcpu[vcpu]!;
  return target.guest_mode ? target.guest_mmu : target.root_mmu;
};

/** User space has nothing mapped where the memslot says its memory is. */
const NOT_MAPPED = 3;

/** The frame for a fault; a result of RET_PF_*, or NOT_MAPPED, is negative: −1 − RET_PF. */
const faultinPfn = kvm(
  file,
  function* kvm_mmu_faultin_pfn(m: Machine, vcpu: number, gfn: number, seq: number) {
    yield m.step('look the memslot up');
    const slot = gfn_to_memslot(m, gfn);
    if (slot < 0) return -1 - RET_PF.EMULATE;
    if (m.vm.memslot[slot]!.invalid) return -1 - RET_PF.RETRY;
    if (m.vm.memslot[slot]!.id === APIC_ACCESS_PAGE_PRIVATE_MEMSLOT) {
      // The page is for L1 alone: to L2 it would be memory, of this vCPU and of all others.
      if (m.vcpu[vcpu]!.guest_mode && m.on('noslot-apic-in-l2')) return -1 - RET_PF.EMULATE;
      if (!kvm_apicv_activated(m)) return -1 - RET_PF.EMULATE;
    }
    yield m.step('is an invalidation of gfn {gfn} under way? (unlocked, a hint)', gfn);
    if (mmu_invalidate_retry_gfn(m, seq, gfn)) return -1 - RET_PF.RETRY;
    const pfn: number = yield* hva_to_pfn(m, hvaInSlot(m, slot, gfn));
    if (pfn < 0) return -1 - NOT_MAPPED;
    yield m.step('and now that pfn {pfn} is known? (unlocked, a hint)', pfn);
    if (!mmu_invalidate_retry_gfn(m, seq, gfn)) return pfn;
    put_page(m, pfn);
    return -1 - RET_PF.RETRY;
  },
);

/**
 * From the frame of the guest that faulted, which is `l1Gfn` to L1, to an entry of its EPT.
 * −EFAULT: user space has taken the memory away.
 */
function* resolve(m: Machine, vcpuIndex: number, gfn: number, l1Gfn: number): Body<number> {
  yield m.step('sample mmu_invalidate_seq');
  const seq = m.vm.mmu_invalidate_seq;
  const pfn: number = yield* faultinPfn(m, vcpuIndex, l1Gfn, seq);
  if (pfn === -1 - NOT_MAPPED) return -EFAULT;
  if (pfn < 0) {
    const emulated = pfn === -1 - RET_PF.EMULATE && m.vcpu[vcpuIndex]!.guest_mode;
    if (emulated && m.vm.enable_mmio_caching) yield* installMmioSpte(m, vcpuIndex, gfn);
    return -1 - pfn;
  }

  yield m.park('lock mmu_lock for read', mmuLockReadable);
  read_lock_mmu(m);
  yield m.step('is_page_fault_stale: did an invalidation cover gfn {gfn} since?', l1Gfn);
  const { root } = activeMmu(m, vcpuIndex);
  const stale = m.ept[root]!.invalid || mmu_invalidate_retry_gfn(m, seq, l1Gfn);
  if (!stale) {
    yield m.step('map gfn {gfn} to pfn {pfn} in the EPT', gfn, pfn);
    if (!mapSpte(m, root, gfn, { pfn, l1Gfn })) {
      throw new Error(`model: EPT root ${root} has no free entry`);
    }
  }
  yield m.step('unlock mmu_lock');
  read_unlock_mmu(m);
  yield m.step('release pfn {pfn}', pfn);
  if (stale) put_page(m, pfn);
  else kvm_release_page_dirty(m, pfn);
  return stale ? RET_PF.RETRY : RET_PF.FIXED;
}

/**
 * Resolves an EPT violation of L1: installs the entry, or says that the access has to be emulated
 * or tried again.
 * @omits huge pages, write protection, fast page faults
 */
export const kvm_tdp_page_fault = kvm(
  file,
  function* kvm_tdp_page_fault(m: Machine, vcpu: number, gpa: number) {
    const gfn = Math.floor(gpa / PAGE_SIZE);
    return yield* resolve(m, vcpu, gfn, gfn);
  },
);

/**
 * The same for L2, whose addresses lead through the tables of L1 first.
 * @omits entries of L1 that forbid an access: all of its tables allow everything
 */
export const ept_page_fault = kvm(
  'arch/x86/kvm/mmu/paging_tmpl.h',
  function* ept_page_fault(m: Machine, vcpu: number, gpa: number) {
    yield m.step('walk the EPT of L1');
    const l1Gpa = translate_nested_gpa(m, vcpu, gpa);
    return yield* resolve(m, vcpu, Math.floor(gpa / PAGE_SIZE), Math.floor(l1Gpa / PAGE_SIZE));
  },
);

/** EPTP of L1 that an EPT02 shadows; 0 if L1 gives L2 its own memory as it is. */
const eptp12Of = (m: Machine, vcpu: number): number => {
  const { guest_mode, nested } = m.vcpu[vcpu]!;
  if (!guest_mode) return INVALID_GPA;
  const { cached_vmcs12: vmcs12 } = nested;
  return secondaryOn(vmcs12, secondaryControl.EPT) ? vmcs12.ept_pointer : 0;
};

/**
 * Gives the vCPU a root for the level that runs, and loads it; all vCPUs with the same role share
 * one.
 */
export const kvm_mmu_load = kvm(file, function* kvm_mmu_load(m: Machine, vcpuIndex: number) {
  yield m.park('lock mmu_lock for write', mmuLockFree);
  write_lock_mmu(m);
  yield m.step('find or make the root');
  const eptp12 = eptp12Of(m, vcpuIndex);
  const root =
    m.ept.find((r) => r.used && !r.invalid && r.eptp12 === eptp12) ??
    m.ept.find((r) => !r.used) ??
    freeUnusedRoot(m);
  root.used = true;
  root.eptp12 = eptp12;
  root.refcount++;
  activeMmu(m, vcpuIndex).root = root.index;
  yield m.step('unlock mmu_lock');
  write_unlock_mmu(m);
  yield* vmx_load_mmu_pgd(m, vcpuIndex);
});

/** A root that no vCPU holds any more, emptied. */
const freeUnusedRoot = (m: Machine): MachineView['ept'][number] => {
  const root = m.ept.find((r) => r.refcount === 0);
  if (root === undefined) throw new MachineLimit(`all ${m.ept.length} EPT roots are in use`);
  for (const spte of root.spte) if (spte.present) spte.present = false;
  return root;
};

/** Lets go of the root of L2; a new one is found before the next entry. */
export const freeGuestRoot = (m: Machine, vcpu: number): void => {
  const { guest_mmu } = m.vcpu[vcpu]!;
  if (guest_mmu.root < 0) return;
  m.ept[guest_mmu.root]!.refcount--;
  guest_mmu.root = -1;
};

/** Puts the root of the level that runs into the loaded VMCS. */
const vmx_load_mmu_pgd = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_load_mmu_pgd(m: Machine, vcpu: number) {
    const { root } = activeMmu(m, vcpu);
    yield m.step('VMWRITE EPT_POINTER');
    currentVmcs(m, vcpu).ept_pointer = eptpOf(root);
    // A root that is used again may have left translations behind.
    yield m.step('flush the current EP4TA');
    m.vcpu[vcpu]!.stat.tlb_flush_current++;
    inveptSingleContext(m, m.vcpu[vcpu]!.cpu, root);
  },
);
