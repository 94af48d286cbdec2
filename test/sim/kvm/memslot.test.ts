import { describe, expect, test } from 'vitest';
import { vm_mmap, vm_munmap } from '#sim/host/mm.ts';
import { mapSpte, spteOf } from '#sim/hw/ept.ts';
import { kvm_vm_ioctl_set_memory_region } from '#sim/kvm/memslot.ts';
import { kvm_tdp_page_fault } from '#sim/kvm/mmu/mmu.ts';
import { kvm_mmu_notifier_ops } from '#sim/kvm/mmu_notifier.ts';
import { apicAccessGfn, hvaOfGuestPage } from '#sim/state/addresses.ts';
import type { Machine, Steps } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  goOn,
  goTo,
  isReady,
  type SmallMachine,
  smallMachine,
  standsBefore,
} from '../small_machine.ts';

const PAGE = 4096;
const indexOf = (m: Machine, name: string) => m.threads.findIndex((t) => t.name === name);
const slotOf = (m: Machine, id: number) => m.vm.memslot.find((s) => s.used && s.id === id);

const change = (
  m: Machine,
  slot: number,
  { gpa = 0, size = PAGE, page = 0 }: { gpa?: number; size?: number; page?: number } = {},
): Steps<number> =>
  kvm_vm_ioctl_set_memory_region(m, {
    slot,
    guest_phys_addr: gpa,
    memory_size: size,
    userspace_addr: hvaOfGuestPage(page),
  });

/** Two pages of guest memory, each in a slot of its own, and both in the EPT. */
const machine = (small: SmallMachine = {}): Machine => {
  const m = smallMachine({ memoryPages: 2, slotPages: 1, ...small });
  byHand(m, () => {
    mapSpte(m, 0, 0, { pfn: 3, l1Gfn: 0 });
    mapSpte(m, 0, 1, { pfn: 4, l1Gfn: 1 });
  });
  return m;
};

test('a slot is deleted by a size of 0: INVALID, zapped, flushed, gone', () => {
  const m = machine();
  const slot = slotOf(m, 1)!;
  const state = () => [slot.used, slot.invalid, spteOf(m, 0, 1) >= 0, m.vm.memslots_generation];
  const work = begin(m, 'user', () => change(m, 1, { size: 0 }));
  goTo(m, 'user', 'kvm_swap_active_memslots', 'synchronize_srcu');
  expect(state()).toEqual([true, true, true, 1]);
  goTo(m, 'user', 'kvm_arch_flush_shadow_memslot', 'unlock mmu_lock');
  expect(state()).toEqual([true, true, false, 2]);
  goOn(m, 'user');
  expect([work.result, ...state()]).toEqual([0, false, false, false, 4]);
  expect(spteOf(m, 0, 0)).toBeGreaterThanOrEqual(0);
});

test('a slot of several pages is zapped whole', () => {
  const m = machine({ slotPages: 2 });
  expect(complete(m, 'user', () => change(m, 0, { size: 0 }))).toBe(0);
  expect([spteOf(m, 0, 0), spteOf(m, 0, 1)]).toEqual([-1, -1]);
  expect(m.vm.stat.remote_tlb_flush_requests).toBe(1);
});

test('a moved slot is INVALID first, and found at its new place with the same memory', () => {
  const m = machine();
  begin(m, 'user', () => change(m, 1, { gpa: 5 * PAGE, page: 1 }));
  goTo(m, 'user', 'kvm_arch_flush_shadow_memslot');
  expect([slotOf(m, 1)!.invalid, slotOf(m, 1)!.base_gfn]).toEqual([true, 1]);
  goOn(m, 'user');
  const { invalid, base_gfn, userspace_addr } = slotOf(m, 1)!;
  expect([invalid, base_gfn, userspace_addr]).toEqual([false, 5, hvaOfGuestPage(1)]);
});

test('a slot is created in one publication: nobody can have had it in hand', () => {
  const m = machine();
  complete(m, 'user', () => change(m, 1, { size: 0 }));
  const before = m.vm.memslots_generation;
  expect(complete(m, 'user', () => change(m, 7, { gpa: 9 * PAGE, page: 1 }))).toBe(0);
  expect(m.vm.memslots_generation - before).toBe(2);
  expect(slotOf(m, 7)!.base_gfn).toBe(9);
});

describe('what KVM refuses', () => {
  const EEXIST = -17;
  const EINVAL = -22;
  test.each<[string, number, Parameters<typeof change>[2], number]>([
    ['an address inside a page', 3, { gpa: 0x5800 }, EINVAL],
    ['half a page', 3, { gpa: 0x5000, size: 0x800 }, EINVAL],
    ['memory of user space inside a page', 3, { gpa: 0x5000, page: 0.5 }, EINVAL],
    ['a number of KVM itself', 0x7ffd, { size: 0 }, EINVAL],
    ['a number that no slot can have', 0x7ffc, { gpa: 0x5000 }, EINVAL],
    ['to delete what there is not', 3, { size: 0 }, EINVAL],
    ['another size for a slot', 1, { gpa: PAGE, size: 2 * PAGE, page: 1 }, EINVAL],
    ['other memory for a slot', 1, { gpa: PAGE, page: 0 }, EINVAL],
    ['a place where another slot is', 3, { gpa: PAGE }, EEXIST],
    ['to move to where another slot is', 1, { gpa: 0, page: 1 }, EEXIST],
    ['the place of the APIC', 3, { gpa: apicAccessGfn * PAGE }, EEXIST],
  ])('%s', (_, slot, region, errno) => {
    const m = machine();
    expect(complete(m, 'user', () => change(m, slot, region))).toBe(errno);
    expect([m.vm.memslots_generation, m.vm.slots_lock]).toEqual([0, 0]);
  });

  test('a change that changes nothing publishes nothing', () => {
    const m = machine();
    expect(complete(m, 'user', () => change(m, 1, { gpa: PAGE, page: 1 }))).toBe(0);
    expect(m.vm.memslots_generation).toBe(0);
  });
});

test('slots are published only while no invalidation is active', () => {
  const m = machine();
  begin(m, 'mm', () => kvm_mmu_notifier_ops.invalidate_range_start(m, hvaOfGuestPage(1), true));
  goOn(m, 'mm');
  begin(m, 'user', () => change(m, 1, { size: 0 }));
  goOn(m, 'user');
  expect(standsBefore(m, 'user')).toContain('wait until no invalidation is active');
  complete(m, 'mm', () => kvm_mmu_notifier_ops.invalidate_range_end(m, hvaOfGuestPage(1)));
  expect(isReady(m, 'user')).toBe(true);
  goOn(m, 'user');
  expect([m.vm.mmu_invalidate_in_progress, slotOf(m, 1)]).toEqual([0, undefined]);
});

test('without that wait the end of the invalidation does not find the slot', () => {
  const m = machine({ switches: { 'memslot-update-waits-mn': 'off' } });
  complete(m, 'mm', () => kvm_mmu_notifier_ops.invalidate_range_start(m, hvaOfGuestPage(1), true));
  complete(m, 'user', () => change(m, 1, { size: 0 }));
  complete(m, 'mm', () => kvm_mmu_notifier_ops.invalidate_range_end(m, hvaOfGuestPage(1)));
  expect([m.vm.mmu_invalidate_in_progress, m.vm.spec.invalidations]).toEqual([1, 0]);
});

test('memory that two slots show is unmapped from both', () => {
  const m = machine();
  complete(m, 'user', () => change(m, 3, { gpa: 5 * PAGE, page: 1 }));
  byHand(m, () => mapSpte(m, 0, 5, { pfn: 4, l1Gfn: 5 }));
  begin(m, 'mm', () => vm_munmap(m, hvaOfGuestPage(1)));
  goTo(m, 'mm', '__kvm_handle_hva_range', 'unlock mmu_lock');
  expect([spteOf(m, 0, 1), spteOf(m, 0, 5)]).toEqual([-1, -1]);
  expect([m.vm.mmu_invalidate_range_start, m.vm.mmu_invalidate_range_end]).toEqual([1, 6]);
  expect(m.vm.mmu_invalidate_in_progress).toBe(1);
  goOn(m, 'mm');
  expect(m.vm.mmu_invalidate_in_progress).toBe(0);
});

describe('memory of user space', () => {
  const fault = (m: Machine): number =>
    complete(m, 'vcpu0', () => kvm_tdp_page_fault(m, 0, PAGE)) as number;
  const pteOfPage1 = (m: Machine) =>
    m.pte.find(({ used, hva }) => used && hva === hvaOfGuestPage(1));

  test('a fault where user space has unmapped the memory of a slot fails with EFAULT', () => {
    const m = smallMachine({ memoryPages: 2 });
    complete(m, 'mm', () => vm_munmap(m, hvaOfGuestPage(1)));
    expect(fault(m)).toBe(-14);
  });

  test('what is mapped there later is found by the next fault', () => {
    const m = smallMachine({ memoryPages: 2 });
    complete(m, 'mm', () => vm_munmap(m, hvaOfGuestPage(1)));
    complete(m, 'mm', () => vm_mmap(m, hvaOfGuestPage(1)));
    expect(fault(m)).toBe(2);
    expect(pteOfPage1(m)!.present).toBe(true);
  });

  test('a mapping over another one drops its frame', () => {
    const m = smallMachine({ memoryPages: 2 });
    fault(m);
    const { pfn } = pteOfPage1(m)!;
    complete(m, 'mm', () => vm_mmap(m, hvaOfGuestPage(1)));
    expect([m.frame[pfn]!.freed, pteOfPage1(m)!.present, spteOf(m, 0, 1)]).toEqual([
      true,
      false,
      -1,
    ]);
  });
});

test('mn_invalidate_lock keeps an invalidation out between the wait and the publication', () => {
  const m = machine();
  begin(m, 'user', () => change(m, 1, { size: 0 }));
  goTo(m, 'user', 'kvm_swap_active_memslots', 'publish the slots');
  begin(m, 'mm', () => kvm_mmu_notifier_ops.invalidate_range_start(m, hvaOfGuestPage(1), true));
  expect([m.vm.mn_invalidate_lock, isReady(m, 'mm')]).toEqual([indexOf(m, 'user') + 1, false]);
  goTo(m, 'user', 'kvm_swap_active_memslots', 'synchronize_srcu');
  expect([m.vm.mn_invalidate_lock, isReady(m, 'mm')]).toEqual([0, true]);
});
