/** Creating and giving up the private memslot at 0xfee00000. */
import {
  mmuLockFree,
  slotsLockFree,
  srcuDrained,
  write_lock_mmu,
  write_unlock_mmu,
} from '../host/locks.ts';
import { vm_munmap } from '../host/mm.ts';
import {
  APIC_ACCESS_PAGE_PRIVATE_MEMSLOT,
  apicAccessGfn,
  hvaOfApicAccessPage,
} from '../state/addresses.ts';
import { kvm, type Machine } from '../steps.ts';
import { zapAllRoots } from './mmu/mmu.ts';
import { kvm_flush_remote_tlbs } from './mmu_notifier.ts';

/** Publishes a change of the memslots; inside an invalidation that must not happen. */
const publishSlots = (m: Machine): void => {
  m.vm.memslots_generation++;
  if (m.vm.mn_active_invalidate_count > 0) m.vm.spec.slot_changes_in_invalidation++;
};

const noInvalidation = (m: Machine): boolean =>
  m.vm.mn_active_invalidate_count === 0 || !m.on('memslot-update-waits-mn');

/**
 * Deletes a memslot: marked INVALID, zapped, gone once no reader can have it in hand.
 * @kvm virt/kvm/kvm_main.c: kvm_set_memslot with KVM_MR_DELETE
 */
const deleteMemslot = kvm(
  'virt/kvm/kvm_main.c',
  function* kvm_delete_memslot(m: Machine, slotIndex: number) {
    const slot = m.vm.memslot[slotIndex]!;
    yield m.park(
      'wait until no invalidation is active; publish the slot as INVALID',
      noInvalidation,
    );
    slot.invalid = true;
    publishSlots(m);
    const { srcu } = m.vm;
    const idx = srcu.idx;
    srcu.idx = 1 - idx;
    yield m.park('synchronize_srcu: wait for the readers of the old slots', srcuDrained, idx);
    yield m.park('lock mmu_lock for write', mmuLockFree);
    write_lock_mmu(m);
    if (yield* zapAllRoots(m, slot.base_gfn)) yield* kvm_flush_remote_tlbs(m);
    yield m.step('unlock mmu_lock');
    write_unlock_mmu(m);
    yield m.park(
      'wait until no invalidation is active; publish the slots without it',
      noInvalidation,
    );
    slot.used = false;
    slot.invalid = false;
    publishSlots(m);
    const second = srcu.idx;
    srcu.idx = 1 - second;
    yield m.park('synchronize_srcu: wait for the readers of the old slots', srcuDrained, second);
  },
);

/** @kvm arch/x86/kvm/lapic.c */
export const kvm_inhibit_apic_access_page = kvm(
  'arch/x86/kvm/lapic.c',
  function* kvm_inhibit_apic_access_page(m: Machine) {
    yield m.park('lock slots_lock', slotsLockFree);
    m.vm.slots_lock = m.current + 1;
    const slot = m.vm.memslot.findIndex((s) => s.used && s.id === APIC_ACCESS_PAGE_PRIVATE_MEMSLOT);
    if (slot >= 0 && m.vm.memslot[slot]!.base_gfn === apicAccessGfn) {
      yield* deleteMemslot(m, slot);
      yield* vm_munmap(m, hvaOfApicAccessPage);
      yield m.step('apic_access_memslot_enabled = false, inhibited = true');
      m.vm.apic_access_memslot_enabled = false;
      m.vm.apic_access_memslot_inhibited = true;
    }
    yield m.step('unlock slots_lock');
    m.vm.slots_lock = 0;
  },
);
