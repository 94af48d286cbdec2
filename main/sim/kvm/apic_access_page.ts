/** Giving up the private memslot at 0xfee00000. */
import { slotsLockFree } from '../host/locks.ts';
import { vm_munmap } from '../host/mm.ts';
import { APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, hvaOfApicAccessPage } from '../state/addresses.ts';
import { kvm, type Machine } from '../steps.ts';
import { id_to_memslot, kvm_set_memslot } from './memslot.ts';

/** @kvm arch/x86/kvm/lapic.c */
export const kvm_inhibit_apic_access_page = kvm(
  'arch/x86/kvm/lapic.c',
  function* kvm_inhibit_apic_access_page(m: Machine) {
    yield m.park('lock slots_lock', slotsLockFree);
    m.vm.slots_lock = m.current + 1;
    const slot = id_to_memslot(m, APIC_ACCESS_PAGE_PRIVATE_MEMSLOT);
    if (m.vm.apic_access_memslot_enabled && slot >= 0) {
      yield* kvm_set_memslot(m, slot, undefined);
      yield* vm_munmap(m, hvaOfApicAccessPage);
      yield m.step('apic_access_memslot_enabled = false, inhibited = true');
      m.vm.apic_access_memslot_enabled = false;
      m.vm.apic_access_memslot_inhibited = true;
    }
    yield m.step('unlock slots_lock');
    m.vm.slots_lock = 0;
  },
);
