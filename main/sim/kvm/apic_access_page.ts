/** Creating and giving up the private memslot at 0xfee00000. */
import {
  mmuLockFree,
  slotsLockFree,
  srcuDrained,
  write_lock_mmu,
  write_unlock_mmu,
} from '../host/locks.ts';
import { vm_munmap } from '../host/mm.ts';
import { APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, hvaOfApicAccessPage } from '../state/addresses.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { zapAllRoots } from './mmu/mmu.ts';
import { zapAndFlush } from './mmu_notifier.ts';

/** Publishes a change of the memslots; inside an invalidation that must not happen. */
const publishSlots = (m: Machine): void => {
  m.vm.memslots_generation++;
  if (m.vm.mn_active_invalidate_count > 0) m.vm.spec.slot_changes_in_invalidation++;
};

const noInvalidation = (m: Machine): boolean =>
  m.vm.mn_active_invalidate_count === 0 || !m.on('memslot-update-waits-mn');

/** Nobody can have the old slots in hand any more when this returns. */
function* synchronizeSrcu(m: Machine): Body<void> {
  const { srcu } = m.vm;
  const { idx } = srcu;
  srcu.idx = 1 - idx;
  yield m.park('synchronize_srcu: wait for the readers of the old slots', srcuDrained, idx);
}

/** @omits that x86 makes all roots obsolete instead of zapping the pages of the slot */
const kvm_arch_flush_shadow_memslot = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_arch_flush_shadow_memslot(m: Machine, slot: number) {
    yield m.park('lock mmu_lock for write', mmuLockFree);
    write_lock_mmu(m);
    yield* zapAndFlush(m, zapAllRoots(m, m.vm.memslot[slot]!.base_gfn));
    yield m.step('unlock mmu_lock');
    write_unlock_mmu(m);
  },
);

const kvm_invalidate_memslot = kvm(
  'virt/kvm/kvm_main.c',
  function* kvm_invalidate_memslot(m: Machine, slot: number) {
    yield m.park(
      'wait until no invalidation is active; publish the slot as INVALID',
      noInvalidation,
    );
    m.vm.memslot[slot]!.invalid = true;
    publishSlots(m);
    yield* synchronizeSrcu(m);
    yield* kvm_arch_flush_shadow_memslot(m, slot);
  },
);

const kvm_delete_memslot = kvm(
  'virt/kvm/kvm_main.c',
  function* kvm_delete_memslot(m: Machine, slot: number) {
    yield m.park(
      'wait until no invalidation is active; publish the slots without it',
      noInvalidation,
    );
    m.vm.memslot[slot]!.used = false;
    m.vm.memslot[slot]!.invalid = false;
    publishSlots(m);
    yield* synchronizeSrcu(m);
  },
);

/**
 * Deletes a memslot: marked INVALID, zapped, gone once no reader can have it in hand.
 * @omits every change but the deletion
 */
const kvm_set_memslot = kvm(
  'virt/kvm/kvm_main.c',
  function* kvm_set_memslot(m: Machine, slot: number) {
    yield* kvm_invalidate_memslot(m, slot);
    yield* kvm_delete_memslot(m, slot);
  },
);

/** @kvm arch/x86/kvm/lapic.c */
export const kvm_inhibit_apic_access_page = kvm(
  'arch/x86/kvm/lapic.c',
  function* kvm_inhibit_apic_access_page(m: Machine) {
    yield m.park('lock slots_lock', slotsLockFree);
    m.vm.slots_lock = m.current + 1;
    const slot = m.vm.memslot.findIndex((s) => s.used && s.id === APIC_ACCESS_PAGE_PRIVATE_MEMSLOT);
    if (m.vm.apic_access_memslot_enabled && slot >= 0) {
      yield* kvm_set_memslot(m, slot);
      yield* vm_munmap(m, hvaOfApicAccessPage);
      yield m.step('apic_access_memslot_enabled = false, inhibited = true');
      m.vm.apic_access_memslot_enabled = false;
      m.vm.apic_access_memslot_inhibited = true;
    }
    yield m.step('unlock slots_lock');
    m.vm.slots_lock = 0;
  },
);
