// gfn_to_pfn_cache: what it maps, when that is no longer true, and each guard that keeps it so.

import { expect, test } from 'vitest';
import { read_lock_gpc, read_unlock_gpc, wantsLock } from '#sim/host/locks.ts';
import { madvise_dontneed, migrate_page, oom_reap } from '#sim/host/mm.ts';
import {
  kvm_gpc_activate,
  kvm_gpc_check,
  kvm_gpc_deactivate,
  kvm_gpc_invalid,
  kvm_gpc_refresh,
} from '#sim/kvm/pfncache.ts';
import { nested_gpc_hpa, nested_gpc_lock } from '#sim/kvm/vmx/nested/caches.ts';
import { gpcId, gpcOf } from '#sim/state/gpc.ts';
import { pfn_to_hpa } from '#sim/state/machine.ts';
import { mappingKind } from '#sim/state/nested.ts';
import { vcpuMode } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, byHand, complete, goOn, goTo, isReady, standsBefore } from '../small_machine.ts';
import { frameOf, gpaOf, hvaOf, machineOfL1, pages } from './l1_pages_machine.ts';

const page = pages.vapic;
const gpa = gpaOf(page);
const hva = hvaOf(page);

const idOf = (m: Machine): number => gpcId(m, { vcpu: 0, context: -1 }, 'virtual_apic_cache');
const cacheIn = (m: Machine): ReturnType<typeof gpcOf> => gpcOf(m, idOf(m));

const activate = (m: Machine, address = gpa): number =>
  complete(m, 'vcpu0', () => kvm_gpc_activate(m, idOf(m), address));
const refresh = (m: Machine): number => complete(m, 'vcpu0', () => kvm_gpc_refresh(m, idOf(m)));
const migrate = (m: Machine): void => complete(m, 'mm', () => migrate_page(m, hva));

/** Active, valid, mapped. */
const state = (m: Machine): [boolean, boolean, boolean] => {
  const { active, valid, khva } = cacheIn(m);
  return [active, valid, khva !== mappingKind.NONE];
};

const live = (m: Machine): number => {
  let count = 0;
  for (const { stat } of m.vcpu) {
    count += stat.gpc_kmap + stat.gpc_memremap - stat.gpc_kunmap - stat.gpc_memunmap;
  }
  return count;
};

/** With the guard, and without it. */
const both = (guard: string) => [
  { guard, set: 'on', switches: { [guard]: 'on' } },
  { guard, set: 'off', switches: { [guard]: 'off' } },
];

test('an activated cache maps the page, is on the list, and holds no reference', () => {
  const m = machineOfL1();
  expect(activate(m)).toBe(0);
  const gpc = cacheIn(m);
  expect([state(m), gpc.on_list, gpc.pfn]).toEqual([[true, true, true], true, frameOf(m, page)]);
  expect([m.frame[gpc.pfn]!.refcount, gpc.khva]).toEqual([1, mappingKind.KMAP]);
  expect(m.vcpu[0]!.stat.gpc_kmap).toBe(1);
});

test('memory without struct page is mapped by memremap, and nothing counts its users', () => {
  const m = machineOfL1({ guestMemory: 'unmanaged' });
  activate(m);
  const { khva, pfn } = cacheIn(m);
  expect([khva, m.frame[pfn]!.refcount]).toEqual([mappingKind.MEMREMAP, 0]);
  expect(m.vcpu[0]!.stat).toMatchObject({ gpc_memremap: 1, gpc_kmap: 0 });
});

test('a cache in use costs no mapping; another address does', () => {
  const m = machineOfL1();
  const hpa = (address: number): number =>
    complete(m, 'vcpu0', () => nested_gpc_hpa(m, 0, idOf(m), address));
  for (let i = 0; i < 3; i++) expect(hpa(gpa)).toBe(pfn_to_hpa(frameOf(m, page)));
  expect([m.vcpu[0]!.stat.gpc_kmap, m.vm.stat.gpc_activates]).toEqual([1, 1]);
  expect(hpa(gpaOf(pages.access))).toBe(pfn_to_hpa(frameOf(m, pages.access)));
  expect(m.vcpu[0]!.stat).toMatchObject({ gpc_kmap: 2, gpc_kunmap: 1 });
  expect(hpa(gpa + 8)).toBeLessThan(0);
});

test('an invalidation keeps the mapping, which goes when the refresh finds the new frame', () => {
  const m = machineOfL1();
  activate(m);
  const old = cacheIn(m).pfn;
  migrate(m);
  expect([state(m), cacheIn(m).pfn, m.vm.stat.gpc_invalidations]).toEqual([
    [true, false, true],
    old,
    1,
  ]);
  expect([m.frame[old]!.freed, kvm_gpc_invalid(m, idOf(m))]).toEqual([true, true]);
  expect(refresh(m)).toBe(0);
  expect([state(m), cacheIn(m).pfn]).toEqual([[true, true, true], frameOf(m, page)]);
  expect(cacheIn(m).khva_pfn).toBe(frameOf(m, page));
  expect(live(m)).toBe(1);
});

test('a refresh that finds the same frame takes the old mapping again', () => {
  const m = machineOfL1();
  activate(m);
  byHand(m, () => {
    cacheIn(m).valid = false;
  });
  refresh(m);
  expect([state(m), m.vcpu[0]!.stat.gpc_kmap]).toEqual([[true, true, true], 1]);
  expect(m.frame[cacheIn(m).pfn]!.refcount).toBe(1);
});

test('a new generation of memslots fails the check, but no frame is looked up', () => {
  const m = machineOfL1();
  activate(m);
  byHand(m, () => {
    m.vm.memslots_generation++;
  });
  expect([kvm_gpc_check(m, idOf(m)), kvm_gpc_invalid(m, idOf(m))]).toEqual([false, false]);
  begin(m, 'vcpu0', () => kvm_gpc_refresh(m, idOf(m)));
  expect(goOn(m, 'vcpu0')).not.toContain('read the primary PTE');
  expect([kvm_gpc_check(m, idOf(m)), m.vcpu[0]!.stat.gpc_kmap]).toEqual([true, 1]);
});

test('an address without memory leaves the cache active, not valid, and unmapped', () => {
  const m = machineOfL1();
  activate(m);
  expect(activate(m, 0x1000_0000)).toBeLessThan(0);
  expect([state(m), cacheIn(m).pfn, live(m)]).toEqual([[true, false, false], -1, 0]);
});

test('a deactivated cache is off the list, unmapped, and refuses to be refreshed', () => {
  const m = machineOfL1();
  activate(m);
  complete(m, 'vcpu0', () => kvm_gpc_deactivate(m, idOf(m)));
  expect([state(m), cacheIn(m).on_list, live(m)]).toEqual([[false, false, false], false, 0]);
  expect(refresh(m)).toBeLessThan(0);
  expect(m.vm.stat.gpc_deactivates).toBe(1);
});

/** vCPU 0 has looked the frame up without the lock; the page goes, as far as `phase`. */
const loseWhileLookedUp = (m: Machine, phase: 'range_start' | 'all'): void => {
  begin(m, 'vcpu0', () => kvm_gpc_activate(m, idOf(m), gpa));
  goTo(m, 'vcpu0', 'gpc_map');
  goTo(m, 'vcpu0', 'hva_to_pfn_retry', 'write_lock');
  begin(m, 'mm', () => madvise_dontneed(m, hva));
  if (phase === 'all') goOn(m, 'mm');
  else goTo(m, 'mm', '__kvm_handle_hva_range', 'lock mmu_lock');
};

test.each(both('gpc-mn-count-check'))(
  'an invalidation that has found nothing to invalidate: $guard $set',
  ({ set, switches }) => {
    const m = machineOfL1({ switches });
    loseWhileLookedUp(m, 'range_start');
    goTo(m, 'vcpu0', 'hva_to_pfn_retry', set === 'on' ? 'sample' : 'valid = true');
    goOn(m, 'mm');
    goOn(m, 'vcpu0');
    // Without the guard the frame that was freed counts as valid.
    const { valid, pfn } = cacheIn(m);
    expect([valid, m.frame[pfn]!.freed]).toEqual([true, set === 'off']);
    expect(m.vm.stat.gpc_refresh_retries).toBe(set === 'on' ? 1 : 0);
    if (set === 'on') expect([pfn, live(m)]).toEqual([frameOf(m, page), 1]);
  },
);

test.each(both('gpc-seq-check'))(
  'an invalidation that began and ended during the look-up: $guard $set',
  ({ set, switches }) => {
    const m = machineOfL1({ switches });
    loseWhileLookedUp(m, 'all');
    goOn(m, 'vcpu0');
    const { valid, pfn } = cacheIn(m);
    expect([valid, m.frame[pfn]!.freed]).toEqual([true, set === 'off']);
    if (set === 'on') expect([pfn, live(m)]).toEqual([frameOf(m, page), 1]);
  },
);

test.each(both('gpc-refresh-mutex'))(
  'two refreshes of one cache: $guard $set',
  ({ set, switches }) => {
    const m = machineOfL1({ switches });
    activate(m);
    migrate(m);
    begin(m, 'vcpu0', () => kvm_gpc_refresh(m, idOf(m)));
    goTo(m, 'vcpu0', 'gpc_map');
    goTo(m, 'vcpu0', 'hva_to_pfn_retry', 'write_lock');
    begin(m, 'vcpu1', () => kvm_gpc_refresh(m, idOf(m)));
    goOn(m, 'vcpu1');
    if (set === 'on') {
      expect(standsBefore(m, 'vcpu1')).toContain('refresh_lock');
      expect(wantsLock(m, 1)).toBe(true);
    }
    goOn(m, 'vcpu0');
    goOn(m, 'vcpu1');
    // Alone, the second finds everything done; side by side both undo the old mapping.
    const unmapped = m.vcpu[0]!.stat.gpc_kunmap + m.vcpu[1]!.stat.gpc_kunmap;
    expect([unmapped, m.vcpu[1]!.stat.gpc_kmap]).toEqual(set === 'on' ? [1, 0] : [2, 1]);
  },
);

test.each(both('gpc-active-after-list'))(
  'a cache that maps before the notifier can find it: $guard $set',
  ({ set, switches }) => {
    const m = machineOfL1({ switches });
    begin(m, 'vcpu0', () => kvm_gpc_activate(m, idOf(m), gpa));
    goTo(m, 'vcpu0', 'hva_to_pfn_retry', 'valid = true');
    goTo(m, 'vcpu0', 'kvm_gpc_activate');
    begin(m, 'mm', () => madvise_dontneed(m, hva));
    goOn(m, 'mm');
    goOn(m, 'vcpu0');
    expect([cacheIn(m).on_list, cacheIn(m).valid]).toEqual([true, set === 'off']);
    expect(m.frame[cacheIn(m).khva_pfn]!.freed).toBe(true);
  },
);

test.each(both('gpc-invalid-before-unlock'))(
  'the old frame under the new address: $guard $set',
  ({ set, switches }) => {
    const m = machineOfL1({ switches });
    activate(m);
    begin(m, 'vcpu0', () => kvm_gpc_activate(m, idOf(m), gpaOf(pages.access)));
    goTo(m, 'vcpu0', 'get_user_pages_unlocked');
    const wrong = kvm_gpc_check(m, idOf(m)) && cacheIn(m).gpa === gpaOf(pages.access);
    expect([wrong, cacheIn(m).khva_pfn]).toEqual([set === 'off', frameOf(m, page)]);
    goOn(m, 'vcpu0');
    expect([cacheIn(m).pfn, live(m)]).toEqual([frameOf(m, pages.access), 1]);
  },
);

test.each(both('gpc-no-pin'))(
  'a cached page migrates only without a reference: $guard $set',
  ({ set, switches }) => {
    const m = machineOfL1({ switches });
    activate(m);
    const old = cacheIn(m).pfn;
    migrate(m);
    expect([frameOf(m, page) === old, m.frame[old]!.freed]).toEqual([set === 'off', set === 'on']);
    complete(m, 'vcpu0', () => kvm_gpc_deactivate(m, idOf(m)));
    expect(m.frame[frameOf(m, page)]!.refcount).toBe(1);
  },
);

/** vCPU 0 is in the guest with the address of the cached page, and takes no interrupt yet. */
const inGuest = (m: Machine): void => {
  activate(m);
  byHand(m, () => {
    m.vcpu[0]!.mode = vcpuMode.IN_GUEST_MODE;
    m.cpu[0]!.irqs_on = false;
  });
};

test.each([
  ['on', 'on', 'waits'],
  ['on', 'off', 'interrupts'],
  ['off', 'on', 'passes'],
])('an invalidation and the vCPU in the guest: kick %s, wait %s: it %s', (kick, wait, what) => {
  const m = machineOfL1({ switches: { 'gpc-vcpu-kick': kick, 'gpc-kick-wait': wait } });
  inGuest(m);
  begin(m, 'mm', () => madvise_dontneed(m, hva));
  goOn(m, 'mm');
  const { mode, requests } = m.vcpu[0]!;
  expect(mode).toBe(what === 'passes' ? vcpuMode.IN_GUEST_MODE : vcpuMode.EXITING_GUEST_MODE);
  expect(standsBefore(m, 'mm').includes('wait until the target')).toBe(what === 'waits');
  if (what !== 'waits') return;
  // The page goes only when the vCPU is out; nothing is left for it to handle.
  expect([requests.any(), m.vm.mmu_invalidate_in_progress, frameOf(m, page)]).toEqual([
    false,
    0,
    cacheIn(m).pfn,
  ]);
  byHand(m, () => {
    m.cpu[0]!.irqs_on = true;
  });
  goOn(m, 'irq0');
  goOn(m, 'mm');
  expect(frameOf(m, page)).toBe(-1);
});

test('the OOM killer does not wait for a vCPU in the guest, which should not be there', () => {
  const m = machineOfL1();
  inGuest(m);
  begin(m, 'mm', () => oom_reap(m, hva));
  goTo(m, 'mm', '__kvm_handle_hva_range');
  expect([m.vm.spec.oom_kicks, m.cpu[0]!.irqs_on]).toEqual([1, false]);
});

test('the notifier waits for who uses the mapping, and who wants it waits for the notifier', () => {
  const m = machineOfL1();
  activate(m);
  complete(m, 'vcpu0', () => nested_gpc_lock(m, 0, idOf(m), gpa));
  begin(m, 'mm', () => madvise_dontneed(m, hva));
  goOn(m, 'mm');
  expect(standsBefore(m, 'mm')).toContain('write_lock');
  expect(
    wantsLock(
      m,
      m.threads.findIndex((t) => t.name === 'mm'),
    ),
  ).toBe(true);
  byHand(m, () => {
    m.current = 0;
    read_unlock_gpc(m, idOf(m));
  });
  goTo(m, 'mm', 'gfn_to_pfn_cache_invalidate_start', 'valid = false');
  begin(m, 'vcpu0', () => nested_gpc_lock(m, 0, idOf(m), gpa));
  expect(isReady(m, 'vcpu0')).toBe(false);
  goTo(m, 'mm', 'gfn_to_pfn_cache_invalidate_start', 'unlock gpc_lock');
  expect(isReady(m, 'vcpu0')).toBe(true);
});

test('a refresh inside an invalidation fails once more, and then waits for it to go on', () => {
  const m = machineOfL1();
  loseWhileLookedUp(m, 'range_start');
  goOn(m, 'vcpu0');
  expect(standsBefore(m, 'vcpu0')).toContain('spin until an invalidation goes on');
  expect([wantsLock(m, 0), m.vm.stat.gpc_refresh_retries]).toEqual([true, 1]);
  goOn(m, 'mm');
  goOn(m, 'vcpu0');
  expect([state(m), cacheIn(m).pfn, live(m)]).toEqual([[true, true, true], frameOf(m, page), 1]);
});

test('a look-up under a lock that must not be slept with is noted', () => {
  const m = machineOfL1();
  refresh(m);
  activate(m);
  expect(m.vm.spec.slept_locked).toBe(0);
  byHand(m, () => {
    m.current = 0;
    read_lock_gpc(m, gpcId(m, { vcpu: 0, context: -1 }, 'pi_desc_cache'));
  });
  refresh(m);
  expect(m.vm.spec.slept_locked).toBe(1);
});
