/** KVM's own accesses to guest memory, through addresses that it has looked up before. */

import type { ViewOf } from '../arena/fields.ts';
import { __copy_from_user, __copy_to_user } from '../host/user_access.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import type { GfnToHvaCache } from '../state/memory.ts';
import { kvm, type Machine } from '../steps.ts';
import { EFAULT } from './errno.ts';
import { gfn_to_memslot, hvaInSlot } from './mmu/mmu.ts';

const file = 'virt/kvm/kvm_main.c';

type Cache = ViewOf<typeof GfnToHvaCache>;

/** A slot that is INVALID has no memory either. */
const lookUp = (m: Machine, gpa: number): number => {
  const gfn = Math.floor(gpa / PAGE_SIZE);
  const slot = gfn_to_memslot(m, gfn);
  if (slot < 0 || m.vm.memslot[slot]!.invalid) return 0;
  return hvaInSlot(m, slot, gfn) + (gpa % PAGE_SIZE);
};

/**
 * Looks an address up; −EFAULT if no memslot has it, and the cache keeps the address that it had.
 * @omits that what crosses into another slot is looked up at each access
 */
export const kvm_gfn_to_hva_cache_init = kvm(
  file,
  function* kvm_gfn_to_hva_cache_init(m: Machine, cache: Cache, gpa: number, width: number) {
    yield m.step('find the memslot of the address');
    cache.generation = m.vm.memslots_generation;
    cache.hva = lookUp(m, gpa + width - 1) === 0 ? 0 : lookUp(m, gpa);
    if (cache.hva === 0) return -EFAULT;
    cache.gpa = gpa;
    return 0;
  },
);

/** Is what the cache says still so? The memslots may have changed since. */
const isStale = (m: Machine, cache: Cache): boolean =>
  cache.generation !== m.vm.memslots_generation;

/** Up to 4 bytes; −EFAULT if they cannot be read. */
export const kvm_read_guest_cached = kvm(
  file,
  function* kvm_read_guest_cached(m: Machine, cache: Cache, width: number) {
    if (isStale(m, cache)) yield* kvm_gfn_to_hva_cache_init(m, cache, cache.gpa, width);
    if (cache.hva === 0) return -EFAULT;
    const value: number = yield* __copy_from_user(m, cache.hva, width);
    return value < 0 ? -EFAULT : value;
  },
);

/** Up to 4 bytes; −EFAULT if they cannot be written. @omits marking the page dirty */
export const kvm_write_guest_cached = kvm(
  file,
  function* kvm_write_guest_cached(m: Machine, cache: Cache, width: number, value: number) {
    if (isStale(m, cache)) yield* kvm_gfn_to_hva_cache_init(m, cache, cache.gpa, width);
    if (cache.hva === 0) return -EFAULT;
    const done: boolean = yield* __copy_to_user(m, cache.hva, width, value);
    return done ? 0 : -EFAULT;
  },
);
