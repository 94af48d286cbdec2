/** Memory slots: what each change publishes, and whom it waits for. */
import {
  mmuLockFree,
  mnInvalidateLockFree,
  slotsLockFree,
  srcuDrained,
  write_lock_mmu,
  write_unlock_mmu,
} from '../host/locks.ts';
import { APIC_ACCESS_PAGE_PRIVATE_MEMSLOT } from '../state/addresses.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import { type Body, kvm, type Machine, MachineLimit } from '../steps.ts';
import { EEXIST, EINVAL } from './errno.ts';
import { freeTables, unlinkTables } from './mmu/mmio_spte.ts';
import { zapAllRoots } from './mmu/mmu.ts';
import { zapAndFlush } from './mmu_notifier.ts';

const file = 'virt/kvm/kvm_main.c';

/** Slots behind these belong to KVM itself. */
const KVM_USER_MEM_SLOTS = APIC_ACCESS_PAGE_PRIVATE_MEMSLOT - 1;

/** struct kvm_userspace_memory_region; a size of 0 deletes the slot. */
export interface MemoryRegion {
  readonly slot: number;
  readonly guest_phys_addr: number;
  readonly memory_size: number;
  readonly userspace_addr: number;
}

/** A slot as the readers find it from the next publication on. */
interface SlotImage {
  readonly used: boolean;
  readonly invalid: boolean;
  readonly id: number;
  readonly base_gfn: number;
  readonly npages: number;
  readonly userspace_addr: number;
}

const imageOf = (m: Machine, slot: number): SlotImage => {
  const { used, invalid, id, base_gfn, npages, userspace_addr } = m.vm.memslot[slot]!;
  return { used, invalid, id, base_gfn, npages, userspace_addr };
};

/** Only what differs is written: the log shows what a change is about. */
const publish = (m: Machine, slot: number, image: SlotImage): void => {
  const old = imageOf(m, slot);
  const target = m.vm.memslot[slot]!;
  if (old.id !== image.id) target.id = image.id;
  if (old.base_gfn !== image.base_gfn) target.base_gfn = image.base_gfn;
  if (old.npages !== image.npages) target.npages = image.npages;
  if (old.userspace_addr !== image.userspace_addr) target.userspace_addr = image.userspace_addr;
  if (old.invalid !== image.invalid) target.invalid = image.invalid;
  if (old.used !== image.used) target.used = image.used;
};

/** Index of the slot with this id, −1 if there is none. @kvm include/linux/kvm_host.h */
export const id_to_memslot = (m: Machine, id: number): number =>
  m.vm.memslot.findIndex((slot) => slot.used && slot.id === id);

const noInvalidation = (m: Machine): boolean =>
  mnInvalidateLockFree(m) && m.vm.mn_active_invalidate_count === 0;

/** Once it has the lock no invalidation begins or ends before the slots are published. */
function* lockOutInvalidations(m: Machine): Body<void> {
  yield m.park('lock mn_invalidate_lock: wait until no invalidation is active', noInvalidation);
  m.vm.mn_invalidate_lock = m.current + 1;
}

/**
 * Publishes one slot as it is to be. An invalidation that has counted the slot must find it at its
 * end; and nobody can have the old slot in hand any more when this returns. The generation grows
 * twice: what was looked up between the two is looked up again.
 * @omits that the old and the new set are two copies; mn_memslots_update_rcuwait
 */
const kvm_swap_active_memslots = kvm(
  file,
  function* kvm_swap_active_memslots(m: Machine, slot: number, image: SlotImage) {
    const { vm } = m;
    const waits = m.on('memslot-update-waits-mn');
    if (waits) yield* lockOutInvalidations(m);
    yield m.step('publish the slots');
    publish(m, slot, image);
    vm.memslots_generation++;
    if (vm.mn_active_invalidate_count > 0) vm.spec.slot_changes_in_invalidation++;
    const { idx } = vm.srcu;
    vm.srcu.idx = 1 - idx;
    if (waits) {
      yield m.step('unlock mn_invalidate_lock');
      vm.mn_invalidate_lock = 0;
    }
    yield m.park('synchronize_srcu: wait for the readers of the old slots', srcuDrained, idx);
    vm.memslots_generation++;
  },
);

/**
 * Zaps the pages of the slot, and takes the tables off EPT02, where a walk without mmu_lock can be
 * under way. All vCPUs have to be asked for a flush, whatever was mapped.
 */
function* zapSlot(m: Machine, slot: number, tables: { unlinked: number }): Body<boolean> {
  const { base_gfn, npages } = m.vm.memslot[slot]!;
  for (let page = 0; page < npages; page++) yield* zapAllRoots(m, base_gfn + page);
  tables.unlinked = m.vm.enable_mmio_caching ? yield* unlinkTables(m) : 0;
  return true;
}

/**
 * The vCPUs leave the guest even if nothing of the slot was mapped.
 * @omits that x86 makes all roots obsolete, and MMU_FREE_OBSOLETE_ROOTS of all vCPUs, instead of
 * zapping the pages of the slot and TLB_FLUSH; tables of EPT01, and without `mmio-caching` those of
 * EPT02, stay
 */
const kvm_arch_flush_shadow_memslot = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_arch_flush_shadow_memslot(m: Machine, slot: number) {
    yield m.park('lock mmu_lock for write', mmuLockFree);
    write_lock_mmu(m);
    const tables = { unlinked: 0 };
    yield* zapAndFlush(m, zapSlot(m, slot, tables));
    yield* freeTables(m, tables.unlinked);
    yield m.step('unlock mmu_lock');
    write_unlock_mmu(m);
  },
);

/** From here on nobody maps a page of the slot, and none stays mapped. */
const kvm_invalidate_memslot = kvm(
  file,
  function* kvm_invalidate_memslot(m: Machine, slot: number) {
    yield* kvm_swap_active_memslots(m, slot, { ...imageOf(m, slot), invalid: true });
    yield* kvm_arch_flush_shadow_memslot(m, slot);
  },
);

const kvm_create_memslot = kvm(
  file,
  function* kvm_create_memslot(m: Machine, slot: number, image: SlotImage) {
    yield* kvm_swap_active_memslots(m, slot, image);
  },
);

const kvm_delete_memslot = kvm(file, function* kvm_delete_memslot(m: Machine, slot: number) {
  yield* kvm_swap_active_memslots(m, slot, { ...imageOf(m, slot), used: false, invalid: false });
});

const kvm_move_memslot = kvm(
  file,
  function* kvm_move_memslot(m: Machine, slot: number, image: SlotImage) {
    yield* kvm_swap_active_memslots(m, slot, image);
  },
);

/**
 * Changes one slot. What goes or moves is first INVALID, and gone from every EPT.
 * @omits changes of flags only, dirty logging, slots_arch_lock, preparations that can fail
 */
export const kvm_set_memslot = kvm(
  file,
  function* kvm_set_memslot(m: Machine, slot: number, image: SlotImage | undefined) {
    if (!m.vm.memslot[slot]!.used) {
      yield* kvm_create_memslot(m, slot, image!);
      return;
    }
    yield* kvm_invalidate_memslot(m, slot);
    if (image === undefined) yield* kvm_delete_memslot(m, slot);
    else yield* kvm_move_memslot(m, slot, image);
  },
);

/** @kvm virt/kvm/kvm_main.c */
const kvm_check_memslot_overlap = (m: Machine, id: number, from: number, to: number): boolean =>
  m.vm.memslot.some(
    (slot) =>
      slot.used && slot.id !== id && slot.base_gfn < to && slot.base_gfn + slot.npages > from,
  );

const isAligned = ({ guest_phys_addr, memory_size, userspace_addr }: MemoryRegion): boolean =>
  guest_phys_addr % PAGE_SIZE === 0 &&
  memory_size % PAGE_SIZE === 0 &&
  userspace_addr % PAGE_SIZE === 0;

const freeSlot = (m: Machine): number => {
  const free = m.vm.memslot.findIndex((slot) => !slot.used);
  if (free < 0) throw new MachineLimit(`all ${m.vm.memslot.length} memslots are in use`);
  return free;
};

/** Creates, moves or deletes a slot, under slots_lock; −EINVAL or −EEXIST if that cannot be. */
export const kvm_set_memory_region = kvm(
  file,
  function* kvm_set_memory_region(m: Machine, region: MemoryRegion) {
    yield m.step('find slot {slot}; is the change possible?', region.slot);
    if (!isAligned(region)) return -EINVAL;
    const { slot: id, userspace_addr } = region;
    const found = id_to_memslot(m, id);
    if (region.memory_size === 0) {
      if (found < 0) return -EINVAL;
      yield* kvm_set_memslot(m, found, undefined);
      return 0;
    }
    const base_gfn = region.guest_phys_addr / PAGE_SIZE;
    const npages = region.memory_size / PAGE_SIZE;
    const old = m.vm.memslot[found];
    if (old !== undefined) {
      if (userspace_addr !== old.userspace_addr || npages !== old.npages) return -EINVAL;
      if (base_gfn === old.base_gfn) return 0;
    }
    if (kvm_check_memslot_overlap(m, id, base_gfn, base_gfn + npages)) return -EEXIST;
    const image = { used: true, invalid: false, id, base_gfn, npages, userspace_addr };
    yield* kvm_set_memslot(m, found < 0 ? freeSlot(m) : found, image);
    return 0;
  },
);

/** KVM_SET_USER_MEMORY_REGION. */
export const kvm_vm_ioctl_set_memory_region = kvm(
  file,
  function* kvm_vm_ioctl_set_memory_region(m: Machine, region: MemoryRegion) {
    if (region.slot >= KVM_USER_MEM_SLOTS) return -EINVAL;
    yield m.park('lock slots_lock', slotsLockFree);
    m.vm.slots_lock = m.current + 1;
    const result: number = yield* kvm_set_memory_region(m, region);
    yield m.step('unlock slots_lock');
    m.vm.slots_lock = 0;
    return result;
  },
);
