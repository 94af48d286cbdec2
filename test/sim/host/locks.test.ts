// Locks are records, waiting is a condition, and a grace period waits for its readers only.

import { expect, test } from 'vitest';
import {
  mmuLockFree,
  mmuLockReadable,
  read_lock_mmu,
  read_unlock_mmu,
  srcu_read_lock,
  srcu_read_unlock,
  srcuDrained,
  wantsLock,
  write_lock_mmu,
  write_unlock_mmu,
} from '#sim/host/locks.ts';
import { pteOf } from '#sim/host/page_table.ts';
import { spteOf } from '#sim/hw/ept.ts';
import { kvm_inhibit_apic_access_page } from '#sim/kvm/apic_access_page.ts';
import { roundRobin } from '#sim/sched/policies/round_robin.ts';
import { Run } from '#sim/sched/run.ts';
import { apicAccessGfn, hvaOfApicAccessPage } from '#sim/state/addresses.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import {
  begin,
  byHand,
  goOn,
  goTo,
  isReady,
  smallMachine,
  standsBefore,
} from '../small_machine.ts';

test('readers share mmu_lock, a writer has it alone', () => {
  const m = smallMachine();
  read_lock_mmu(m);
  read_lock_mmu(m);
  expect([mmuLockReadable(m), mmuLockFree(m)]).toEqual([true, false]);
  read_unlock_mmu(m);
  expect(mmuLockFree(m)).toBe(false);
  read_unlock_mmu(m);
  expect(mmuLockFree(m)).toBe(true);
  write_lock_mmu(m);
  expect([mmuLockReadable(m), mmuLockFree(m)]).toEqual([false, false]);
  write_unlock_mmu(m);
  expect(mmuLockFree(m)).toBe(true);
});

test('a grace period waits for those who read before it, and not for those who came later', () => {
  const m = smallMachine();
  const before = srcu_read_lock(m);
  m.vm.srcu.idx = 1 - m.vm.srcu.idx;
  const later = srcu_read_lock(m);
  expect([srcuDrained(m, before), later]).toEqual([false, 1 - before]);
  srcu_read_unlock(m, before);
  expect([srcuDrained(m, before), srcuDrained(m, later)]).toEqual([true, false]);
});

test('deleting the private slot waits for the reader that may have it in hand', () => {
  const m = smallMachine();
  let idx = 0;
  byHand(m, () => {
    idx = srcu_read_lock(m);
  });
  begin(m, 'user', () => kvm_inhibit_apic_access_page(m));
  goOn(m, 'user');
  expect(standsBefore(m, 'user')).toContain('kvm_swap_active_memslots "synchronize_srcu');
  const slot = m.vm.memslot.find(({ id }) => id === 0x7ffd)!;
  expect([slot.used, slot.invalid]).toEqual([true, true]);
  byHand(m, () => srcu_read_unlock(m, idx));
  expect(isReady(m, 'user')).toBe(true);
  goOn(m, 'user');
  expect([slot.used, m.vm.apic_access_memslot_enabled]).toEqual([false, false]);
  expect(m.vm.apic_access_memslot_inhibited).toBe(true);
});

test('the private slot is marked, waited for, zapped, and only then taken out', () => {
  const m = smallMachine();
  const slot = m.vm.memslot.find(({ id }) => id === 0x7ffd)!;
  const generation = m.vm.memslots_generation;
  const state = () => [
    slot.used,
    slot.invalid,
    spteOf(m, 0, apicAccessGfn) >= 0,
    m.vm.memslots_generation - generation,
    pteOf(m, hvaOfApicAccessPage) >= 0,
  ];
  begin(m, 'user', () => kvm_inhibit_apic_access_page(m));
  goTo(m, 'user', 'kvm_swap_active_memslots', 'synchronize_srcu');
  expect(state()).toEqual([true, true, true, 1, true]);
  goTo(m, 'user', 'kvm_arch_flush_shadow_memslot', 'unlock mmu_lock');
  expect(state()).toEqual([true, true, false, 2, true]);
  expect(m.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH)).toBe(true);
  goTo(m, 'user', 'kvm_swap_active_memslots', 'synchronize_srcu');
  expect(state()).toEqual([false, false, false, 3, true]);
  goOn(m, 'user');
  expect(state()).toEqual([false, false, false, 4, false]);
});

test('waiting for a lock for ever is a deadlock, waiting for work is not', () => {
  const m = smallMachine();
  const halts = (): string | undefined => {
    const run = new Run(m, { policy: roundRobin(), wantsLock });
    run.advance(2000);
    return run.halt;
  };
  byHand(m, () => {
    m.vm.slots_lock = 99;
  });
  expect(halts()).toBe('quiet');
  begin(m, 'user', () => kvm_inhibit_apic_access_page(m));
  expect(halts()).toBe('deadlock');
});
