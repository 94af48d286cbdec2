// Invalidations, faults and the reload of the APIC-access page, each on one vCPU.

import { expect, test } from 'vitest';
import { put_page } from '#sim/host/frames.ts';
import { madvise_dontneed, migrate_page } from '#sim/host/mm.ts';
import { hva_to_pfn, pteOf } from '#sim/host/page_table.ts';
import { spteOf } from '#sim/hw/ept.ts';
import { kvm_mmu_load, kvm_tdp_page_fault, zapAllRoots } from '#sim/kvm/mmu/mmu.ts';
import { RET_PF } from '#sim/kvm/mmu/ret_pf.ts';
import { INVALID_GFN, mmu_invalidate_retry_gfn } from '#sim/kvm/mmu_invalidate.ts';
import { vmx_set_apic_access_page_addr } from '#sim/kvm/vmx/vmx.ts';
import { apicAccessGfn, hvaOfApicAccessPage as hva } from '#sim/state/addresses.ts';
import { hpa_to_pfn } from '#sim/state/machine.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  goOn,
  goTo,
  isReady,
  type SmallMachine,
  settle,
  smallMachine,
  standsBefore,
  takeStep,
} from '../small_machine.ts';

const APIC_GPA = 0xfee0_0000;

const named = (m: Machine): number => hpa_to_pfn(m.vcpu[0]!.vmcs01.apic_access_addr);
const mapped = (m: Machine): number => m.pte[pteOf(m, hva)]!.pfn;
const inEpt = (m: Machine): number => {
  const index = spteOf(m, 0, apicAccessGfn);
  return index < 0 ? -1 : m.ept[0]!.spte[index]!.pfn;
};
const fault = (m: Machine, gpa = APIC_GPA): number =>
  complete(m, 'vcpu0', () => kvm_tdp_page_fault(m, 0, gpa));
const reload = (m: Machine): void =>
  complete(m, 'vcpu0', () => vmx_set_apic_access_page_addr(m, 0));
const reloadPending = (m: Machine): boolean => m.vcpu[0]!.requests.has(KVM_REQ.APIC_PAGE_RELOAD);

test.each<[number, [number, number] | undefined, number, boolean]>([
  // in progress, range, sequence number now (5 was seen), retry?
  [0, undefined, 5, false],
  [0, undefined, 6, true],
  [0, [0x10, 0x11], 5, false],
  [1, [0x10, 0x11], 5, true],
  [1, [0x10, 0x11], 6, true],
  [1, [0x11, 0x20], 5, false],
  [1, [0x0f, 0x10], 5, false],
  [1, [0x11, 0x20], 6, true],
  [1, undefined, 5, true],
])('in progress %i, range %j, sequence %i: retry is %s', (progress, range, seq, retry) => {
  const m = smallMachine();
  const { vm } = m;
  vm.mmu_invalidate_in_progress = progress;
  vm.mmu_invalidate_range_start = range?.[0] ?? INVALID_GFN;
  vm.mmu_invalidate_range_end = range?.[1] ?? INVALID_GFN;
  vm.mmu_invalidate_seq = seq;
  expect(mmu_invalidate_retry_gfn(m, 5, 0x10)).toBe(retry);
});

test('the range is the union of the ongoing intervals, and starts anew when none is left', () => {
  const m = smallMachine({ memoryPages: 4 });
  const page = (gfn: number) => m.pte[gfn]!.hva;
  begin(m, 'mm', () => madvise_dontneed(m, page(2)));
  goTo(m, 'mm', 'zap_page_range_single');
  begin(m, 'mm1', () => madvise_dontneed(m, page(0)));
  goTo(m, 'mm1', 'zap_page_range_single');
  const { vm } = m;
  const range = () => [vm.mmu_invalidate_range_start, vm.mmu_invalidate_range_end];
  expect([vm.mmu_invalidate_in_progress, range()]).toEqual([2, [0, 3]]);
  goOn(m, 'mm');
  expect([vm.mmu_invalidate_in_progress, range(), vm.mmu_invalidate_seq]).toEqual([1, [0, 3], 1]);
  goOn(m, 'mm1');
  expect([vm.mmu_invalidate_in_progress, vm.mn_active_invalidate_count]).toEqual([0, 0]);
  begin(m, 'mm', () => madvise_dontneed(m, page(3)));
  goTo(m, 'mm', 'zap_page_range_single');
  expect(range()).toEqual([3, 4]);
});

test('the sequence number grows before the interval stops counting', () => {
  const m = smallMachine();
  begin(m, 'mm', () => migrate_page(m, hva));
  goTo(m, 'mm', 'kvm_mmu_notifier_invalidate_range_end', 'lower mmu_invalidate_in_progress');
  const { vm } = m;
  expect([vm.mmu_invalidate_seq, vm.mmu_invalidate_in_progress]).toEqual([1, 1]);
});

test('an address without a memslot is counted, but takes no lock and zaps nothing', () => {
  const m = smallMachine();
  const labels: string[] = [];
  begin(m, 'mm', () => migrate_page(m, 0x1234_5000));
  labels.push(...goOn(m, 'mm'));
  expect(labels.filter((label) => label.includes('mmu_lock'))).toEqual([]);
  expect([m.vm.mn_active_invalidate_count, m.vm.mmu_invalidate_seq]).toEqual([0, 0]);
});

test('a zap takes the entry out of every root', () => {
  const m = smallMachine();
  byHand(m, () => {
    m.ept[2]!.used = true;
    Object.assign(m.ept[2]!.spte[2]!, {
      gfn: apicAccessGfn,
      l1_gfn: apicAccessGfn,
      pfn: 3,
      present: true,
    });
  });
  expect(complete(m, 'mm', () => zapAllRoots(m, apicAccessGfn))).toBe(true);
  expect([spteOf(m, 0, apicAccessGfn), spteOf(m, 2, apicAccessGfn)]).toEqual([-1, -1]);
  expect(m.vm.stat.sptezaps).toBe(2);
  expect(complete(m, 'mm', () => zapAllRoots(m, apicAccessGfn))).toBe(false);
});

test('a fault maps the page and holds no reference afterwards', () => {
  const m = smallMachine({ memoryPages: 2 });
  expect(fault(m, 0x1000)).toBe(RET_PF.FIXED);
  const pte = m.pte[1]!;
  expect([m.ept[0]!.spte[spteOf(m, 0, 1)]!.pfn, m.frame[pte.pfn]!.refcount]).toEqual([pte.pfn, 1]);
  expect([m.vm.mmu_lock.readers, m.vm.mmu_lock.writer]).toEqual([0, 0]);
});

test('a fault on an address without memslot is to be emulated', () => {
  expect(fault(smallMachine({ memoryPages: 1 }), 0x5000)).toBe(RET_PF.EMULATE);
});

test('a fault on an INVALID slot is to be tried again', () => {
  const m = smallMachine();
  byHand(m, () => {
    m.vm.memslot.find(({ id }) => id === 0x7ffd)!.invalid = true;
  });
  expect(fault(m)).toBe(RET_PF.RETRY);
});

test('with APICv inhibited the private slot is not mapped: its accesses are emulated', () => {
  const m = smallMachine({ enableApicv: false });
  expect(fault(m)).toBe(RET_PF.EMULATE);
  expect(inEpt(m)).toBe(-1);
});

test('a fault inside an invalidation of its page installs nothing', () => {
  const m = smallMachine();
  begin(m, 'mm', () => migrate_page(m, hva));
  goTo(m, 'mm', 'try_to_migrate_one');
  expect(fault(m)).toBe(RET_PF.RETRY);
  expect(inEpt(m)).toBe(-1);
});

test('a fault that looked up before an invalidation and locks after it installs nothing', () => {
  const m = smallMachine();
  const old = mapped(m);
  const faulting = begin(m, 'vcpu0', () => kvm_tdp_page_fault(m, 0, APIC_GPA));
  goTo(m, 'vcpu0', 'kvm_tdp_page_fault', 'lock mmu_lock');
  // The reference of the look-up holds the page where it is; the fault is stale all the same.
  complete(m, 'mm', () => migrate_page(m, hva));
  goOn(m, 'vcpu0');
  expect([faulting.result, inEpt(m), mapped(m)]).toEqual([RET_PF.RETRY, -1, old]);
  expect(m.frame[old]!.refcount).toBe(1);
});

test('a fault looks again once it knows the frame, before it takes the lock', () => {
  const m = smallMachine();
  const old = mapped(m);
  begin(m, 'vcpu0', () => kvm_tdp_page_fault(m, 0, APIC_GPA));
  goTo(m, 'vcpu0', 'kvm_mmu_faultin_pfn', 'and now that pfn {pfn} is known');
  expect(m.frame[old]!.refcount).toBe(2);
  begin(m, 'mm', () => migrate_page(m, hva));
  goTo(m, 'mm', 'try_to_migrate_one');
  expect(goOn(m, 'vcpu0')).toEqual([expect.stringContaining('and now that pfn {pfn} is known')]);
  expect([m.frame[old]!.refcount, inEpt(m)]).toEqual([1, -1]);
});

test('a fault gives the lock back first, and then the frame', () => {
  const m = smallMachine();
  begin(m, 'vcpu0', () => kvm_tdp_page_fault(m, 0, APIC_GPA));
  goTo(m, 'vcpu0', 'kvm_tdp_page_fault', 'release pfn');
  expect([m.vm.mmu_lock.readers, m.frame[mapped(m)]!.refcount]).toEqual([0, 2]);
  goOn(m, 'vcpu0');
  expect(m.frame[mapped(m)]!.refcount).toBe(1);
});

test('a root is loaded without translations that its last use left behind', () => {
  const m = smallMachine();
  byHand(m, () => {
    m.vcpu[0]!.root_mmu.root = -1;
  });
  const valid = () => m.cpu[0]!.tlb.filter((entry) => entry.valid).length;
  expect(valid()).toBeGreaterThan(0);
  complete(m, 'vcpu0', () => kvm_mmu_load(m, 0));
  expect([valid(), m.vcpu[0]!.stat.tlb_flush_current]).toEqual([0, 1]);
});

test('the reload writes the frame that the primary page table maps, and keeps no reference', () => {
  for (const profile of ['k4.15', 'k5.8', 'k6.6']) {
    const m = smallMachine({ profile });
    byHand(m, () => {
      m.vcpu[0]!.vmcs01.apic_access_addr = 0;
    });
    reload(m);
    expect([profile, named(m), m.frame[mapped(m)]!.refcount]).toEqual([profile, mapped(m), 1]);
    expect([profile, m.vcpu[0]!.stat.tlb_flush_current]).toEqual([
      profile,
      profile === 'k6.6' ? 0 : 1,
    ]);
  }
});

test('the reload does nothing where the CPU does not virtualize APIC accesses', () => {
  const m = smallMachine();
  byHand(m, () => {
    const { vmcs01 } = m.vcpu[0]!;
    vmcs01.apic_access_addr = 0;
    vmcs01.secondary_vm_exec_control.clear(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  });
  reload(m);
  expect(named(m)).toBe(0);
});

test('the reload returns early for an INVALID slot, and goes on without that test', () => {
  for (const value of ['on', 'off'] as const) {
    const m = smallMachine({ switches: { 'slot-invalid-test': value } });
    byHand(m, () => {
      m.vcpu[0]!.vmcs01.apic_access_addr = 0;
      m.vm.memslot.find(({ id }) => id === 0x7ffd)!.invalid = true;
    });
    reload(m);
    expect([value, named(m) !== 0]).toEqual([value, value === 'off']);
  }
});

test('the unchecked reload looks up by gfn, which refuses an INVALID slot', () => {
  for (const profile of ['k4.15', 'k5.8']) {
    const m = smallMachine({ profile });
    byHand(m, () => {
      m.vcpu[0]!.vmcs01.apic_access_addr = 0;
      m.vm.memslot.find(({ id }) => id === 0x7ffd)!.invalid = true;
    });
    reload(m);
    expect([profile, named(m), m.frame[mapped(m)]!.refcount]).toEqual([profile, 0, 1]);
  }
});

/** What a checked reload does from the look under the lock on; `retry`: inside an invalidation. */
const endOfReload = (flush: 'on' | 'off', retry: boolean): string[] => {
  const m = smallMachine({ switches: { 'reload-flush-current': flush } });
  if (retry) {
    begin(m, 'mm', () => migrate_page(m, hva));
    goTo(m, 'mm', 'try_to_migrate_one');
  }
  begin(m, 'vcpu0', () => vmx_set_apic_access_page_addr(m, 0));
  goTo(m, 'vcpu0', 'vmx_set_apic_access_page_addr', 'was it invalidated since?');
  return goOn(m, 'vcpu0').slice(1);
};

const write = expect.stringContaining('VMWRITE');
const again = expect.stringContaining('make APIC_PAGE_RELOAD again');
const release = expect.stringContaining('release pfn');

test.each([
  ['on', false, [write, 'unlock mmu_lock', 'flush the current EP4TA', release]],
  ['off', false, [write, release, 'unlock mmu_lock']],
  ['on', true, [again, 'unlock mmu_lock', release]],
  ['off', true, [again, release, 'unlock mmu_lock']],
] as const)(
  'with the flush %s, retry %s: the frame goes under the lock, unless the flush comes between',
  (flush, retry, steps) => {
    expect(endOfReload(flush, retry)).toEqual(steps);
  },
);

/** Position of the reload relative to the migration: who writes what to the VMCS. */
const reloadInside = (small: SmallMachine, before: string) => {
  const m = smallMachine(small);
  const old = mapped(m);
  begin(m, 'mm', () => migrate_page(m, hva));
  goTo(m, 'mm', before);
  byHand(m, () => {
    m.vcpu[0]!.requests.clear(KVM_REQ.APIC_PAGE_RELOAD);
    m.vcpu[0]!.vmcs01.apic_access_addr = 0;
  });
  begin(m, 'vcpu0', () => vmx_set_apic_access_page_addr(m, 0));
  goOn(m, 'vcpu0');
  return { m, old };
};

test('inside the invalidation the checked reload asks again and leaves the VMCS alone', () => {
  const { m } = reloadInside({ profile: 'k6.6' }, 'try_to_migrate_one');
  expect([named(m), reloadPending(m)]).toEqual([0, true]);
});

test('inside the invalidation the unchecked reload writes the frame that is about to go', () => {
  const { m, old } = reloadInside({ profile: 'k4.15' }, 'try_to_migrate_one');
  expect([named(m), reloadPending(m)]).toEqual([old, false]);
  goOn(m, 'mm');
  expect([m.frame[old]!.freed, mapped(m) === old]).toEqual([true, false]);
});

test('once the primary entry is gone the reload waits for the new frame', () => {
  const { m, old } = reloadInside({ profile: 'k5.8' }, 'migrate_pages');
  expect(isReady(m, 'vcpu0')).toBe(false);
  expect(standsBefore(m, 'vcpu0')).toContain('a migration entry makes it wait');
  goOn(m, 'mm');
  goOn(m, 'vcpu0');
  expect([named(m), named(m) === old]).toEqual([mapped(m), false]);
});

const secondaryHook = 'kvm_arch_mmu_notifier_invalidate_range';

test.each([
  ['k4.15', ['kvm_mmu_notifier_invalidate_range_start', secondaryHook], 0],
  ['k5.8', ['try_to_migrate_one', secondaryHook], 0],
  ['k6.6', ['__kvm_handle_hva_range', 'kvm_unmap_gfn_range'], 1],
])('%s asks for the reload once, from %j', (profile, from, locked) => {
  const m = smallMachine({ profile });
  const request = m.vcpu[0]!.spec.request[KVM_REQ.APIC_PAGE_RELOAD]!;
  const { published } = request;
  begin(m, 'mm', () => migrate_page(m, hva));
  const mm = m.threads.find(({ name }) => name === 'mm')!;
  let callers: string[] = [];
  while (!reloadPending(m)) {
    callers = mm.calls.map(({ info }) => info.name);
    takeStep(m, 'mm');
  }
  const asking = callers.indexOf('kvm_make_all_cpus_request');
  expect(callers.slice(asking - from.length, asking)).toEqual(from);
  expect(m.vm.mmu_lock.writer).toBe(locked * (mm.index + 1));
  goOn(m, 'mm');
  expect(request.published).toBe(published + 1);
});

test('->invalidate_range of another page asks for nothing', () => {
  for (const profile of ['k4.15', 'k5.8']) {
    const m = smallMachine({ profile, memoryPages: 1 });
    complete(m, 'mm', () => migrate_page(m, m.pte[0]!.hva));
    expect([profile, m.vm.mmu_invalidate_seq, reloadPending(m)]).toEqual([profile, 1, false]);
  }
});

test('a page that is looked up for a moment makes one migration fail, and the next succeed', () => {
  const m = smallMachine();
  const old = complete(m, 'user', () => hva_to_pfn(m, hva));
  complete(m, 'mm', () => migrate_page(m, hva));
  expect(mapped(m)).toBe(old);
  byHand(m, () => put_page(m, old));
  complete(m, 'mm', () => migrate_page(m, hva));
  expect([mapped(m) === old, m.frame[old]!.freed]).toEqual([false, true]);
});

test('after everything VMCS, EPT and primary page table mean the same page', () => {
  for (const profile of ['k4.15', 'k5.8', 'k6.6']) {
    const m = smallMachine({
      profile,
      programs: {
        vcpu0: [{ op: 'read', operands: [APIC_GPA + 0x80] }],
        mm: [{ op: 'migrate', operands: [-1] }],
      },
    });
    settle(m);
    expect([profile, named(m)]).toEqual([profile, mapped(m)]);
    expect([profile, [mapped(m), -1].includes(inEpt(m))]).toEqual([profile, true]);
  }
});

test('what the guest was given counts as used and written, the APIC-access page as used', () => {
  const m = smallMachine({ memoryPages: 1 });
  expect(complete(m, 'vcpu0', () => kvm_tdp_page_fault(m, 0, 0))).toBe(RET_PF.FIXED);
  complete(m, 'vcpu0', () => vmx_set_apic_access_page_addr(m, 0));
  const of = (gfn: number) => m.frame[m.ept[0]!.spte[spteOf(m, 0, gfn)]!.pfn]!;
  expect([of(0), of(0xfee00)]).toMatchObject([
    { accessed: true, dirty: true },
    { accessed: true, dirty: false },
  ]);
});
