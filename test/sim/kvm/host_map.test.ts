// kvm_host_map: a page that is mapped for a while, and what holds its frame meanwhile.

import { expect, test } from 'vitest';
import { madvise_dontneed, migrate_page } from '#sim/host/mm.ts';
import { type HostMapView, kvm_vcpu_map, kvm_vcpu_unmap } from '#sim/kvm/host_map.ts';
import { mappingKind } from '#sim/state/nested.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, complete } from '../small_machine.ts';
import { frameOf, hvaOf, machineOfL1, pages, type Wishes } from './l1_pages_machine.ts';

const page = pages.vapic;

const machine = (wishes: Wishes = {}): Machine => machineOfL1({ profile: 'k7.0', ...wishes });
const mapIn = (m: Machine): HostMapView => m.vcpu[0]!.nested.virtual_apic_map;
const map = (m: Machine, { gfn = page as number, writable = true } = {}): number =>
  complete(m, 'vcpu0', () => kvm_vcpu_map(m, 0, mapIn(m), { gfn, writable }));
const unmap = (m: Machine): void => complete(m, 'vcpu0', () => kvm_vcpu_unmap(m, 0, mapIn(m)));
const migrate = (m: Machine): void => complete(m, 'mm', () => migrate_page(m, hvaOf(page)));
const drop = (m: Machine): void => complete(m, 'mm', () => madvise_dontneed(m, hvaOf(page)));

test('a mapped page is pinned, and is dirty once it is unmapped', () => {
  const m = machine();
  expect(map(m)).toBe(0);
  const { pfn, mapping } = mapIn(m);
  const frame = m.frame[pfn]!;
  expect([pfn, mapping, frame.pincount, frame.refcount]).toEqual([
    frameOf(m, page),
    mappingKind.KMAP,
    1,
    1,
  ]);
  unmap(m);
  expect([frame.pincount, frame.dirty, frame.accessed]).toEqual([0, true, true]);
  expect(m.vm.memslot[0]!.dirty_bitmap.has(page)).toBe(true);
  unmap(m);
  expect(m.vcpu[0]!.stat).toMatchObject({ hostmap_kmap: 1, hostmap_kunmap: 1, hostmap_pins: 1 });
});

test('a page that is mapped for reading does not become dirty', () => {
  const m = machine();
  map(m, { writable: false });
  const { pfn } = mapIn(m);
  unmap(m);
  expect([m.frame[pfn]!.dirty, m.vm.memslot[0]!.dirty_bitmap.any()]).toEqual([false, false]);
});

test('an address without memory is not mapped, and unmapping it does nothing', () => {
  const m = machine();
  expect(map(m, { gfn: 0x1000 })).toBeLessThan(0);
  unmap(m);
  expect(m.vcpu[0]!.stat).toMatchObject({ hostmap_kmap: 0, hostmap_kunmap: 0, hostmap_pins: 0 });
});

test.each([
  ['on', 1, 1],
  ['reference', 0, 2],
])('what holds the frame while it is mapped, with FOLL_PIN %s', (pin, pins, references) => {
  const m = machine({ switches: { 'hostmap-pin': pin } });
  map(m);
  const { pfn } = mapIn(m);
  const frame = m.frame[pfn]!;
  expect([frame.pincount, frame.refcount]).toEqual([pins, references]);
  migrate(m);
  expect(frameOf(m, page)).toBe(pfn);
  // User space gives the page up: the CPU goes on with the old frame, which nobody else gets.
  drop(m);
  expect([frameOf(m, page), frame.freed]).toEqual([-1, false]);
  unmap(m);
  expect([frame.freed, frame.pincount, frame.refcount]).toEqual([true, 0, 0]);
});

test('without either the frame is freed although the CPU has its address', () => {
  const m = machine({ switches: { 'hostmap-pin': 'off' } });
  map(m);
  const { pfn, pinned } = mapIn(m);
  expect([pinned, m.frame[pfn]!.pincount, m.frame[pfn]!.refcount]).toEqual([false, 0, 1]);
  drop(m);
  expect(m.frame[pfn]!.freed).toBe(true);
  unmap(m);
  expect([m.frame[pfn]!.pincount, m.frame[pfn]!.refcount]).toEqual([0, 0]);
});

test('mapping what is mapped forgets the pin that is there already', () => {
  const m = machine();
  map(m);
  map(m);
  unmap(m);
  const { stat } = m.vcpu[0]!;
  expect([stat.hostmap_kmap - stat.hostmap_kunmap, m.frame[mapIn(m).pfn]!.pincount]).toEqual([
    1, 1,
  ]);
});

test.each([
  ['off', false],
  ['on', true],
])('memory without struct page, with allow_unsafe_mappings %s', (allowed, maps) => {
  const m = machine({
    guestMemory: 'unmanaged',
    switches: { allow_unsafe_mappings: allowed },
  });
  expect(map(m) === 0).toBe(maps);
  if (!maps) return;
  const { pfn, mapping } = mapIn(m);
  const frame = m.frame[pfn]!;
  expect([mapping, frame.pincount, frame.refcount]).toEqual([mappingKind.MEMREMAP, 0, 0]);
  // Its owner takes it back although it is mapped; it cannot be migrated.
  migrate(m);
  expect(frameOf(m, page)).toBe(pfn);
  drop(m);
  expect(frame.freed).toBe(true);
  unmap(m);
  expect(m.vcpu[0]!.stat).toMatchObject({
    hostmap_memremap: 1,
    hostmap_memunmap: 1,
    hostmap_pins: 0,
  });
});

test('a frame without struct page that is used again is an ordinary one', () => {
  const m = machine({ guestMemory: 'unmanaged', switches: { allow_unsafe_mappings: 'on' } });
  map(m);
  const { pfn } = mapIn(m);
  drop(m);
  byHand(m, () => {
    for (const frame of m.frame)
      if (!frame.allocated && frame.index !== pfn) frame.allocated = true;
    m.pte[page]!.pfnmap = false;
  });
  map(m);
  expect([mapIn(m).pfn, m.frame[pfn]!.has_struct_page, mapIn(m).mapping]).toEqual([
    pfn,
    true,
    mappingKind.KMAP,
  ]);
});
