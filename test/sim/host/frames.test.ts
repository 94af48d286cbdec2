// Page frames, and what the memory manager does with those that somebody holds.

import { expect, test } from 'vitest';
import { alloc_page, copy_page, get_page, put_page } from '#sim/host/frames.ts';
import { madvise_dontneed, migrate_page, vm_munmap } from '#sim/host/mm.ts';
import { hva_to_pfn, PFN_ERR, pteOf } from '#sim/host/page_table.ts';
import { roundRobin } from '#sim/sched/policies/round_robin.ts';
import { Run } from '#sim/sched/run.ts';
import { hvaOfApicAccessPage as hva } from '#sim/state/addresses.ts';
import { firstFrame } from '#sim/state/machine.ts';
import { type Machine, MachineLimit } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  goOn,
  goTo,
  isReady,
  smallMachine,
  standsBefore,
} from '../small_machine.ts';

const pteOfPage = (m: Machine) => m.pte[pteOf(m, hva)]!;

/** Takes every frame that is left. */
const takeAll = (m: Machine): number[] => {
  const left = m.frame.filter(({ index, allocated }) => index >= firstFrame && !allocated);
  return left.map(() => alloc_page(m));
};

test('the last reference frees a frame, and no other does', () => {
  const m = smallMachine();
  const pfn = alloc_page(m);
  get_page(m, pfn);
  put_page(m, pfn);
  expect([m.frame[pfn]!.refcount, m.frame[pfn]!.freed]).toEqual([1, false]);
  put_page(m, pfn);
  expect([m.frame[pfn]!.refcount, m.frame[pfn]!.freed, m.frame[pfn]!.allocated]).toEqual([
    0,
    true,
    false,
  ]);
});

test('a freed frame is handed out again only when no fresh one is left', () => {
  const m = smallMachine({ frames: 6 });
  const first = alloc_page(m);
  put_page(m, first);
  const order = takeAll(m);
  expect(order.at(-1)).toBe(first);
  expect(new Set(order).size).toBe(order.length);
  expect(m.frame[first]!.freed).toBe(false);
});

test('a copy has the content and the tag, and writes only what differs', () => {
  const m = smallMachine();
  const [from, to] = [alloc_page(m), alloc_page(m)];
  m.frame[from]!.data.setU32(0xffc, 5);
  m.frame[from]!.tag = 9;
  m.arena.dropLog();
  copy_page(m, from, to);
  expect([m.frame[to]!.data.u32(0xffc), m.frame[to]!.tag]).toEqual([5, 9]);
  expect(m.arena.used).toBe(2 * 3);
});

test('a page that nobody holds moves: new frame mapped, content copied, old frame freed', () => {
  const m = smallMachine();
  const old = pteOfPage(m).pfn;
  m.frame[old]!.data.setU32(0, 77);
  complete(m, 'mm', () => migrate_page(m, hva));
  const { pfn, present, migrating } = pteOfPage(m);
  expect(pfn).not.toBe(old);
  expect([present, migrating]).toEqual([true, false]);
  expect(m.frame[pfn]!.data.u32(0)).toBe(77);
  expect([m.frame[old]!.freed, m.frame[pfn]!.refcount]).toEqual([true, 1]);
});

test.each(['refcount', 'pincount'] as const)('a page with a %s of its own stays', (count) => {
  const m = smallMachine();
  const old = pteOfPage(m).pfn;
  m.frame[old]![count]++;
  complete(m, 'mm', () => migrate_page(m, hva));
  expect([pteOfPage(m).pfn, pteOfPage(m).present, m.frame[old]!.freed]).toEqual([old, true, false]);
  expect(m.vm.spec.apic_pte_changed).toBe(0);
});

test('without a free frame there is none to be had, and the sentence says what to do', () => {
  const m = smallMachine({ frames: 4 });
  takeAll(m);
  expect(() => alloc_page(m)).toThrow(MachineLimit);
  expect(() => alloc_page(m)).toThrow('all 4 page frames are in use; give the machine more');
});

test.each(['migrate', 'look-up'])('without a free frame a %s ends the run', (what) => {
  const m = smallMachine({ frames: 4 });
  byHand(m, () => {
    takeAll(m);
    if (what === 'look-up') pteOfPage(m).present = false;
  });
  if (what === 'migrate') begin(m, 'mm', () => migrate_page(m, hva));
  else begin(m, 'mm', () => hva_to_pfn(m, hva));
  const run = new Run(m, { policy: roundRobin() });
  run.advance(2000);
  expect([run.halt, run.message]).toEqual(['limit', expect.stringContaining('4 page frames')]);
  // The step that failed is closed: everything can be taken back as after any other end.
  while (m.arena.stepsKept > 0) m.arena.undo();
});

test('a fault on a migration entry waits for the new mapping', () => {
  const m = smallMachine();
  const old = pteOfPage(m).pfn;
  begin(m, 'mm', () => migrate_page(m, hva));
  goTo(m, 'mm', 'migrate_pages', 'copy it');
  const fault = begin(m, 'user', () => hva_to_pfn(m, hva));
  goOn(m, 'user');
  expect(isReady(m, 'user')).toBe(false);
  expect(standsBefore(m, 'user')).toContain('migration entry makes it wait');
  goOn(m, 'mm');
  goOn(m, 'user');
  expect(fault.result).toBe(pteOfPage(m).pfn);
  expect(fault.result).not.toBe(old);
});

test('a look-up before the entry is cleared holds the old frame, so the page does not move', () => {
  const m = smallMachine();
  begin(m, 'mm', () => migrate_page(m, hva));
  goTo(m, 'mm', 'try_to_migrate_one', 'clear the primary PTE');
  const pfn = complete(m, 'user', () => hva_to_pfn(m, hva));
  goOn(m, 'mm');
  expect(pteOfPage(m).pfn).toBe(pfn);
  expect(m.frame[pfn]!.refcount).toBe(2);
});

test('a dropped page is gone for the next fault, but lives while somebody holds it', () => {
  const m = smallMachine();
  const old = complete(m, 'user', () => hva_to_pfn(m, hva));
  complete(m, 'mm', () => madvise_dontneed(m, hva));
  expect(m.frame[old]!.freed).toBe(false);
  const next = complete(m, 'user', () => hva_to_pfn(m, hva));
  expect(next).not.toBe(old);
  put_page(m, old);
  expect(m.frame[old]!.freed).toBe(true);
});

test.each([
  ['madvise_dontneed_single_vma', madvise_dontneed],
  ['vm_munmap', vm_munmap],
])('%s frees the frame behind the end of the interval', (name, unmap) => {
  const m = smallMachine();
  const old = pteOfPage(m).pfn;
  begin(m, 'mm', () => unmap(m, hva));
  goTo(m, 'mm', name, 'tlb_finish_mmu');
  expect([m.vm.mn_active_invalidate_count, m.vm.mmu_invalidate_seq]).toEqual([0, 1]);
  expect([m.frame[old]!.refcount, m.frame[old]!.freed]).toEqual([1, false]);
  goOn(m, 'mm');
  expect([m.frame[old]!.refcount, m.frame[old]!.freed]).toEqual([0, true]);
});

test.each([
  ['madvise', madvise_dontneed],
  ['munmap', vm_munmap],
])('%s takes a migration entry away: the migration has nothing left to map', (_, unmap) => {
  const m = smallMachine();
  const old = pteOfPage(m).pfn;
  begin(m, 'mm', () => migrate_page(m, hva));
  goTo(m, 'mm', 'migrate_pages', 'copy it');
  complete(m, 'mm1', () => unmap(m, hva));
  expect(m.pte.some(({ migrating }) => migrating)).toBe(false);
  // The frame is the migration's still: it is freed once, by the migration.
  expect(m.frame[old]!.refcount).toBe(1);
  goOn(m, 'mm');
  expect([m.frame[old]!.refcount, m.frame[old]!.freed]).toEqual([0, true]);
  expect(m.pte.some((pte) => pte.used && pte.hva === hva && pte.present)).toBe(false);
  expect(m.vm.spec.apic_pte_changed).toBe(0);
});

test('what is not mapped has no frame', () => {
  const m = smallMachine();
  complete(m, 'mm', () => vm_munmap(m, hva));
  expect(pteOf(m, hva)).toBe(-1);
  expect(complete(m, 'user', () => hva_to_pfn(m, hva))).toBe(PFN_ERR);
});
