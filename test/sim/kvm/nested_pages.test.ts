// L1's pages for L2, mapped or cached: what vmcs02 gets, and what tells that it is no longer true.

import { expect, test } from 'vitest';
import { boot } from '#sim/boot.ts';
import { madvise_dontneed, migrate_page } from '#sim/host/mm.ts';
import { secondaryOn } from '#sim/hw/vmcs.ts';
import { cacheOf, nested_gpc_lock_if_active } from '#sim/kvm/vmx/nested/caches.ts';
import { vmx_nested_context_clear, vmx_nested_context_load } from '#sim/kvm/vmx/nested/context.ts';
import { nested_lock_vapic } from '#sim/kvm/vmx/nested/l2_pages.ts';
import { free_nested } from '#sim/kvm/vmx/nested/operation.ts';
import {
  endUseOfPages,
  nested_get_vmcs12_pages,
  nested_mark_vmcs12_pages_dirty,
  vmx_get_nested_state_pages,
  vmx_is_nested_state_invalid,
} from '#sim/kvm/vmx/nested/pages.ts';
import { INVALID_GPA } from '#sim/state/addresses.ts';
import { gpcOf } from '#sim/state/gpc.ts';
import { pfn_to_hpa } from '#sim/state/machine.ts';
import { mappingKind } from '#sim/state/nested.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { kvmExit, loadedVmcs, taskState } from '#sim/state/vcpu.ts';
import { cpuControl, pinControl, secondaryControl } from '#sim/state/vmcs.ts';
import { type Machine, scenarioActor } from '#sim/steps.ts';
import { compileText } from '../scenario_run.ts';
import { begin, byHand, complete, goOn, goTo, isReady, settle } from '../small_machine.ts';
import {
  enterL2ByHand,
  frameOf,
  hvaOf,
  machineOfL1,
  pages,
  type Wishes,
} from './l1_pages_machine.ts';

const forms = ['k6.13', 'k7.0', 'gpc-v1'] as const;

const inL2 = (wishes: Wishes = {}): Machine => {
  const m = machineOfL1(wishes);
  enterL2ByHand(m);
  return m;
};
const get = (m: Machine): boolean => complete(m, 'vcpu0', () => nested_get_vmcs12_pages(m, 0));
const drop = (m: Machine, page: number): void =>
  complete(m, 'mm', () => madvise_dontneed(m, hvaOf(page)));
const endUse = scenarioActor(function* endUse(m: Machine) {
  yield* endUseOfPages(m, 0);
});
const cache = (m: Machine, name: Parameters<typeof cacheOf>[2]): ReturnType<typeof gpcOf> =>
  gpcOf(m, cacheOf(m, 0, name));

const hpas = (m: Machine): number[] => {
  const { vmcs02 } = m.vcpu[0]!;
  return [vmcs02.apic_access_addr, vmcs02.virtual_apic_page_addr, vmcs02.posted_intr_desc_addr];
};
const inMemory = (m: Machine): number[] => [
  pfn_to_hpa(frameOf(m, pages.access)),
  pfn_to_hpa(frameOf(m, pages.vapic)),
  pfn_to_hpa(frameOf(m, pages.descriptor)) + 0x40,
];

/** The memory of the guest ends before the page; who looks at the memslots sees it. */
const loseSlot = (m: Machine, page: number): void =>
  byHand(m, () => {
    m.vm.memslot[0]!.npages = page;
    m.vm.memslots_generation++;
  });

test.each(forms)('%s: vmcs02 gets the addresses of the pages of L1', (profile) => {
  const m = inL2({ profile });
  expect([get(m), hpas(m), m.vcpu[0]!.nested.pi_desc_offset]).toEqual([true, inMemory(m), 0x40]);
});

test.each(forms)('%s: without memory for the APIC-access page user space is told', (profile) => {
  const m = inL2({ profile });
  loseSlot(m, pages.access);
  expect([get(m), m.vcpu[0]!.exit_reason]).toEqual([false, kvmExit.INTERNAL_ERROR]);
});

test.each(forms)('%s: without memory for the virtual-APIC page the entry fails', (profile) => {
  const m = inL2({ profile });
  loseSlot(m, pages.vapic);
  expect(get(m)).toBe(true);
  const { vmcs02 } = m.vcpu[0]!;
  expect(vmcs02.virtual_apic_page_addr).toBe(INVALID_GPA);
  expect(vmcs02.cpu_based_vm_exec_control.has(cpuControl.TPR_SHADOW)).toBe(true);
});

/** Every access of L2 to CR8 exits, and L1 does not virtualize APIC accesses. */
const makeShadowIdle = (m: Machine): void =>
  byHand(m, () => {
    const { cached_vmcs12: vmcs12 } = m.vcpu[0]!.nested;
    vmcs12.cpu_based_vm_exec_control.set(cpuControl.CR8_LOAD);
    vmcs12.cpu_based_vm_exec_control.set(cpuControl.CR8_STORE);
    vmcs12.secondary_vm_exec_control.clear(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  });

test.each(forms)('%s: a TPR shadow that is never used is given up instead', (profile) => {
  const m = inL2({ profile });
  makeShadowIdle(m);
  loseSlot(m, pages.vapic);
  expect(get(m)).toBe(true);
  const { vmcs02 } = m.vcpu[0]!;
  expect(vmcs02.cpu_based_vm_exec_control.has(cpuControl.TPR_SHADOW)).toBe(false);
  expect(vmcs02.pin_based_vm_exec_control.has(pinControl.POSTED_INTR)).toBe(false);
  // Nothing is left that would stop the entry.
  expect(vmx_is_nested_state_invalid(m, 0)).toBe(false);
});

test.each([
  ['off', false],
  ['on', true],
])('getting pages again that are back sets their controls: %s', (set, restored) => {
  const m = inL2({ switches: { 'reget-restores-controls': set } });
  makeShadowIdle(m);
  loseSlot(m, pages.vapic);
  get(m);
  byHand(m, () => {
    m.vm.memslot[0]!.npages = 9;
    m.vm.memslots_generation++;
  });
  get(m);
  const { vmcs02 } = m.vcpu[0]!;
  expect(vmcs02.cpu_based_vm_exec_control.has(cpuControl.TPR_SHADOW)).toBe(restored);
  expect(vmcs02.pin_based_vm_exec_control.has(pinControl.POSTED_INTR)).toBe(restored);
});

test('mapped pages go when L2 ends; cached ones stay and cost nothing the next time', () => {
  for (const profile of ['k7.0', 'gpc-v1']) {
    const m = inL2({ profile });
    for (let i = 0; i < 3; i++) {
      get(m);
      complete(m, 'vcpu0', () => endUse(m));
    }
    const { stat } = m.vcpu[0]!;
    // The MSR bitmap is the fourth page.
    const counts = [stat.hostmap_kmap, stat.hostmap_kunmap, stat.gpc_kmap, stat.gpc_kunmap];
    expect([profile, ...counts]).toEqual([
      profile,
      ...(profile === 'k7.0' ? [12, 12] : [0, 0]),
      ...(profile === 'k7.0' ? [0, 0] : [4, 0]),
    ]);
  }
});

test('VMXOFF gives up what is mapped and what is cached', () => {
  for (const profile of forms) {
    const m = inL2({ profile });
    get(m);
    byHand(m, () => {
      m.vcpu[0]!.loaded_vmcs = loadedVmcs.VMCS01;
      m.vcpu[0]!.guest_mode = false;
    });
    complete(m, 'vcpu0', () => free_nested(m, 0));
    const { stat, nested } = m.vcpu[0]!;
    const live = stat.hostmap_kmap + stat.gpc_kmap - stat.hostmap_kunmap - stat.gpc_kunmap;
    expect([profile, live]).toEqual([profile, 0]);
    expect(nested.virtual_apic_map.mapping).toBe(mappingKind.NONE);
    expect(m.frame.every((frame) => frame.pincount === 0 && frame.refcount <= 1)).toBe(true);
  }
});

const dirtyPages = (m: Machine): number[] => {
  const { dirty_bitmap } = m.vm.memslot[0]!;
  return Array.from({ length: 9 }, (_, i) => i).filter((i) => dirty_bitmap.has(i));
};

test.each([
  ['k6.13', 'on', [pages.vapic, pages.descriptor]],
  ['k7.0', 'on', [pages.access, pages.vapic, pages.descriptor]],
  ['gpc-v1', 'on', [pages.vapic, pages.descriptor]],
  ['gpc-v1', 'off', []],
])(
  '%s, marking %s: an exit of L2 makes the pages dirty that the CPU may have written',
  (profile, marks, dirty) => {
    const m = inL2({ profile, switches: { 'dirty-vmcs12-pages': marks } });
    get(m);
    complete(m, 'vcpu0', () => nested_mark_vmcs12_pages_dirty(m, 0));
    expect(dirtyPages(m)).toEqual(dirty);
  },
);

test('an invalidated cache is found by the last check, and its page is got again', () => {
  const m = inL2();
  get(m);
  expect(vmx_is_nested_state_invalid(m, 0)).toBe(false);
  drop(m, pages.vapic);
  expect(vmx_is_nested_state_invalid(m, 0)).toBe(true);
  expect(complete(m, 'vcpu0', () => vmx_get_nested_state_pages(m, 0))).toBe(true);
  expect([vmx_is_nested_state_invalid(m, 0), hpas(m)]).toEqual([false, inMemory(m)]);
  expect(m.vcpu[0]!.stat.get_nested_state_pages).toBe(1);
});

test('the MSR bitmap is read by KVM alone: the last check does not look at its cache', () => {
  const m = inL2();
  get(m);
  drop(m, pages.bitmap);
  expect([cache(m, 'msr_bitmap_cache').valid, vmx_is_nested_state_invalid(m, 0)]).toEqual([
    false,
    false,
  ]);
});

test.each([
  ['on', false],
  ['off', true],
])(
  'a page that is gone for good, deactivating %s: the last check fails again and again: %s',
  (set, again) => {
    const m = inL2({ switches: { 'gpc-deactivate-on-fail': set } });
    makeShadowIdle(m);
    get(m);
    loseSlot(m, pages.vapic);
    drop(m, pages.vapic);
    for (let i = 0; i < 3; i++) complete(m, 'vcpu0', () => vmx_get_nested_state_pages(m, 0));
    expect(vmx_is_nested_state_invalid(m, 0)).toBe(again);
  },
);

test.each([
  ['off', true],
  ['on', false],
])('a cache that vmcs12 uses no longer, given up %s: it stops the entry: %s', (set, stops) => {
  const m = inL2({ switches: { 'gpc-deactivate-unused': set } });
  get(m);
  byHand(m, () => {
    m.vcpu[0]!.nested.cached_vmcs12.cpu_based_vm_exec_control.clear(cpuControl.TPR_SHADOW);
  });
  get(m);
  drop(m, pages.vapic);
  get(m);
  expect(vmx_is_nested_state_invalid(m, 0)).toBe(stops);
});

test.each([
  ['off', false],
  ['on', true],
])('memslots that change under a cache, looked at %s: the last check sees it: %s', (set, seen) => {
  const m = inL2({ switches: { 'gpc-generation-in-final-check': set } });
  get(m);
  byHand(m, () => {
    m.vm.memslots_generation++;
  });
  expect(vmx_is_nested_state_invalid(m, 0)).toBe(seen);
  get(m);
  expect(vmx_is_nested_state_invalid(m, 0)).toBe(false);
});

test.each([
  ['off', false],
  ['on', true],
])(
  'an event callback that refreshes a cache, asking again %s: vmcs02 follows: %s',
  (set, follows) => {
    const m = inL2({ switches: { 'gpc-rewrite-on-refresh': set } });
    get(m);
    drop(m, pages.vapic);
    const pfn = complete(m, 'vcpu0', () => nested_lock_vapic(m, 0));
    expect(pfn).toBe(frameOf(m, pages.vapic));
    // The last check is content with the cache, while vmcs02 has the frame that was freed.
    expect([vmx_is_nested_state_invalid(m, 0), hpas(m)[1] === pfn_to_hpa(pfn)]).toEqual([
      false,
      false,
    ]);
    expect(m.vcpu[0]!.requests.has(KVM_REQ.GET_NESTED_STATE_PAGES)).toBe(follows);
  },
);

test.each([
  ['off', 1],
  ['on', 0],
])('a vCPU that is about to sleep and has to look a page up, staying awake %s', (set, noted) => {
  const m = inL2({ switches: { 'gpc-nosleep-in-block': set } });
  get(m);
  drop(m, pages.vapic);
  byHand(m, () => {
    m.vcpu[0]!.task_state = taskState.INTERRUPTIBLE;
  });
  complete(m, 'vcpu0', () => nested_lock_vapic(m, 0));
  expect([m.vm.spec.slept_interruptible, m.vcpu[0]!.task_state]).toEqual([
    noted,
    taskState.RUNNING,
  ]);
});

test.each([
  ['on', false, 0],
  ['off', true, 1],
])('who uses a mapping, its lock held %s: the page can go meanwhile: %s', (set, goes, noted) => {
  const m = inL2({ switches: { 'gpc-use-under-lock': set } });
  get(m);
  const pfn = complete(m, 'vcpu0', () => nested_lock_vapic(m, 0));
  begin(m, 'mm', () => migrate_page(m, hvaOf(pages.vapic)));
  goOn(m, 'mm');
  expect([m.frame[pfn]!.freed, m.vm.spec.unlocked_gpc_uses]).toEqual([goes, noted]);
});

test('a cache that is not active, or cannot be refreshed, gives no mapping', () => {
  const m = inL2();
  const lock = (): number =>
    complete(m, 'vcpu0', () =>
      nested_gpc_lock_if_active(m, 0, cacheOf(m, 0, 'virtual_apic_cache')),
    );
  expect(lock()).toBe(-1);
  get(m);
  loseSlot(m, pages.vapic);
  expect([lock(), cache(m, 'virtual_apic_cache').lock.readers]).toEqual([-1, 0]);
});

const load = (m: Machine, vcpu: number, gpa: number): void =>
  complete(m, `vcpu${vcpu}`, () => vmx_nested_context_load(m, vcpu, gpa));
const clearOn = (m: Machine, vcpu: number, gpa: number): void =>
  complete(m, `vcpu${vcpu}`, () => vmx_nested_context_clear(m, vcpu, gpa));
const clear = (m: Machine, gpa: number): void => clearOn(m, 0, gpa);
const contextOf = (m: Machine, vcpu: number): number => m.vcpu[vcpu]!.nested.context;

test('a vmcs12 that comes back finds its caches; else the least recent are taken', () => {
  const m = machineOfL1({ profile: 'gpc-v4' });
  const contexts = m.vm.nested_context.length;
  expect(contexts).toBe(16);
  for (let i = 0; i < contexts; i++) {
    load(m, 0, 0x1000 * i);
    clear(m, 0x1000 * i);
  }
  load(m, 0, 0x3000);
  expect([contextOf(m, 0), m.vm.stat.nested_context_reuse]).toEqual([3, 1]);
  clear(m, 0x3000);
  load(m, 0, 0x10_0000);
  load(m, 1, 0x11_0000);
  expect([contextOf(m, 0), contextOf(m, 1), m.vm.stat.nested_context_recycle]).toEqual([0, 1, 2]);
  expect(m.vm.nested_context[0]!.gpa).toBe(0x10_0000);
});

test.each([
  ['off', 0, 1],
  ['on', -1, 0],
])('a vmcs12 that another vCPU still has, exclusive %s', (set, context, noted) => {
  const m = machineOfL1({ profile: 'gpc-v4', switches: { 'gpc-ctx-exclusive': set } });
  load(m, 0, 0x1000);
  load(m, 1, 0x1000);
  expect([contextOf(m, 1), m.vm.spec.shared_contexts]).toEqual([context, noted]);
});

test.each([
  ['off', -1],
  ['on', 0],
])('VMCLEAR by another vCPU than that which has the context, exclusive %s', (set, owner) => {
  const m = machineOfL1({ profile: 'gpc-v4', switches: { 'gpc-ctx-exclusive': set } });
  load(m, 0, 0x1000);
  clearOn(m, 1, 0x1000);
  expect(m.vm.nested_context[0]!.vcpu).toBe(owner);
});

test.each([
  ['off', false],
  ['on', true],
])('a vCPU that never found a context, exclusive %s: it has caches: %s', (set, has) => {
  const m = inL2({ profile: 'gpc-v4', switches: { 'gpc-ctx-exclusive': set } });
  expect([get(m), vmx_is_nested_state_invalid(m, 0)]).toEqual([has, false]);
  expect(complete(m, 'vcpu0', () => nested_lock_vapic(m, 0)) >= 0).toBe(has);
});

test('a recycled cache names the vCPU that uses it now, which an invalidation kicks', () => {
  const m = inL2({ profile: 'gpc-v4' });
  load(m, 1, 0x1000);
  clear(m, 0x1000);
  load(m, 0, 0x1000);
  expect(cache(m, 'virtual_apic_cache').vcpu).toBe(1);
  get(m);
  expect(cache(m, 'virtual_apic_cache').vcpu).toBe(0);
  expect(cache(m, 'msr_bitmap_cache').vcpu).toBe(-1);
});

test('who finds the table full goes on with the caches that it has', () => {
  const m = machineOfL1({ profile: 'gpc-v4' });
  load(m, 1, 0x100_0000);
  for (let i = 0; i < 15; i++) load(m, 0, 0x1000 * i);
  load(m, 1, 0x200_0000);
  expect([contextOf(m, 1), m.vm.nested_context[0]!.gpa]).toEqual([0, 0x100_0000]);
});

const l2 = (profile: string, switches: Readonly<Record<string, string>>): Machine =>
  boot(
    compileText(
      `scenario "L2 with a TPR shadow"
machine { vcpus 1 memory 8 nested on interrupts on }
vcpu0 {
  write 0x1000 0x11e57ed0
  write 0x2000 0x11e57ed0
  vmxon 0x1000
  vmclear 0x2000
  vmptrld 0x2000
  vmwrite pin_based_vm_exec_control 0x1
  vmwrite cpu_based_vm_exec_control 0x80200080
  vmwrite secondary_vm_exec_control 0x102
  vmwrite ept_pointer 0x501e
  vmwrite virtual_apic_page_addr 0x6000
  vmlaunch
  advance-rip
}
vcpu0.l2 { pause vmcall }
mm { madvise-dontneed 6 }`,
      { profile, switches },
    ).config,
  );

const vapic = 6;
const staleAtEntry = (m: Machine): boolean =>
  m.vcpu[0]!.vmcs02.virtual_apic_page_addr !== pfn_to_hpa(frameOf(m, vapic));

test.each([
  ['on', false],
  ['off', true],
])(
  'a page that goes before the entry, last check %s: the CPU has a freed frame: %s',
  (check, stale) => {
    const m = l2('gpc-v1', { 'gpc-final-check': check });
    goTo(m, 'vcpu0', 'nested_vmx_enter_non_root_mode', 'guest_mode = 1');
    goOn(m, 'mm');
    goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
    expect([staleAtEntry(m), m.vcpu[0]!.stat.gpc_final_check_fails]).toEqual([
      stale,
      check === 'on' ? 1 : 0,
    ]);
  },
);

test.each([
  ['on', false],
  ['off', true],
])(
  'a page that goes behind the last check, kick %s: the CPU has a freed frame: %s',
  (kick, stale) => {
    const m = l2('gpc-v1', { 'gpc-vcpu-kick': kick });
    goTo(m, 'vcpu0', 'nested_vmx_enter_non_root_mode', 'guest_mode = 1');
    goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
    goOn(m, 'mm');
    expect(staleAtEntry(m)).toBe(stale);
    if (stale) return;
    // The invalidation waits until L2 has been left; then it goes on.
    expect(isReady(m, 'mm')).toBe(false);
    settle(m);
    expect(m.vcpu[0]!.stat.nested_exits).toBe(1);
  },
);

const failing = (switches: Readonly<Record<string, string>>): Machine => {
  const m = l2('k7.0', switches);
  goTo(m, 'vcpu0', 'prepare_vmcs02_early');
  byHand(m, () => {
    m.vcpu[0]!.nested.cached_vmcs12.guest_activity_state = 2;
  });
  goOn(m, 'vcpu0');
  return m;
};

test.each([
  ['off', 1],
  ['on', 0],
])('an entry that fails behind the mapping, unmapping %s: pins that are left: %i', (set, left) => {
  const m = failing({ 'unmap-on-failed-entry': set });
  expect(secondaryOn(m.vcpu[0]!.nested.cached_vmcs12, secondaryControl.EPT)).toBe(true);
  expect(m.vcpu[0]!.stat.nested_entries).toBe(0);
  expect(m.frame.reduce((sum, frame) => sum + frame.pincount, 0)).toBe(left);
});
