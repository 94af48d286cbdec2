import { expect, test } from 'vitest';
import { vm_munmap } from '#sim/host/mm.ts';
import {
  kvm_gfn_to_hva_cache_init,
  kvm_read_guest_cached,
  kvm_write_guest_cached,
} from '#sim/kvm/guest_memory.ts';
import { kvm_vm_ioctl_set_memory_region } from '#sim/kvm/memslot.ts';
import { hvaOfGuestPage } from '#sim/state/addresses.ts';
import type { Machine } from '#sim/steps.ts';
import { complete, type SmallMachine, smallMachine } from '../small_machine.ts';

const EFAULT = -14;

const machine = (small: SmallMachine = {}): Machine =>
  smallMachine({ memoryPages: 2, slotPages: 1, ...small });
const cacheOf = (m: Machine) => m.vcpu[0]!.apic.vapic_cache;
const lookUp = (m: Machine, gpa: number, width = 4): number =>
  complete(m, 'vcpu0', () => kvm_gfn_to_hva_cache_init(m, cacheOf(m), gpa, width));
const read = (m: Machine): number =>
  complete(m, 'vcpu0', () => kvm_read_guest_cached(m, cacheOf(m), 4));
const write = (m: Machine, value: number): number =>
  complete(m, 'vcpu0', () => kvm_write_guest_cached(m, cacheOf(m), 4, value));
const changeSlot1 = (m: Machine, gpa: number, size = 4096): void => {
  const region = { slot: 1, guest_phys_addr: gpa, memory_size: size };
  const userspace_addr = hvaOfGuestPage(1);
  complete(m, 'user', () => kvm_vm_ioctl_set_memory_region(m, { ...region, userspace_addr }));
};

test('what is written through the cache is read back, with its high bit', () => {
  const m = machine();
  expect([lookUp(m, 0x1008), write(m, 0x8000_0041), read(m)]).toEqual([0, 0, 0x8000_0041]);
});

test('a word that crosses into the next page is in both', () => {
  const m = machine();
  expect([lookUp(m, 0xffe), write(m, 0x1234_5678), read(m)]).toEqual([0, 0, 0x1234_5678]);
  const frames = [0, 1].map((page) => m.pte.find(({ hva }) => hva === hvaOfGuestPage(page))!.pfn);
  expect(m.frame[frames[0]!]!.data.u32(0xffc)).toBe(0x5678_0000);
  expect(m.frame[frames[1]!]!.data.u32(0)).toBe(0x1234);
});

test('an address without a slot, or at the end of the last one, is refused', () => {
  expect(lookUp(machine(), 0x5000)).toBe(EFAULT);
  expect(lookUp(machine(), 0x1ffe)).toBe(EFAULT);
});

test('a change of the slots makes the cache look again', () => {
  const m = machine();
  lookUp(m, 0x1000);
  write(m, 7);
  changeSlot1(m, 0x1000, 0);
  expect([write(m, 8), read(m)]).toEqual([EFAULT, EFAULT]);
  changeSlot1(m, 0x1000);
  expect(read(m)).toBe(7);
});

test('an INVALID slot has no memory', () => {
  const m = machine();
  m.vm.memslot.find(({ id }) => id === 1)!.invalid = true;
  expect(lookUp(m, 0x1000)).toBe(EFAULT);
});

test('memory that user space has unmapped cannot be reached', () => {
  const m = machine();
  lookUp(m, 0x1000);
  complete(m, 'mm', () => vm_munmap(m, hvaOfGuestPage(1)));
  expect([write(m, 8), read(m)]).toEqual([EFAULT, EFAULT]);
});
