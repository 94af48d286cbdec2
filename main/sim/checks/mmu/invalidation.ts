/** The counters of the MMU notifier tell the truth. */
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';

export const inv_inprogress_balance: Check = {
  id: 'inv-inprogress-balance',
  when: 'step',
  per: 'machine',
  summary:
    'mmu_invalidate_in_progress is the number of intervals that took mmu_lock at their start ' +
    'and have not ended',
  why: 'if it stays above zero, every fault and every reload inside the range retries for ever',
  races: ['R67'],
  reads: ['vm.mmu_invalidate_in_progress', 'vm.spec.invalidations'],
  broken(m) {
    const { mmu_invalidate_in_progress: counted, spec } = m.vm;
    if (counted === spec.invalidations && counted >= 0) return undefined;
    return violated(
      `mmu_invalidate_in_progress is ${counted}, but ${spec.invalidations} invalidations are under way`,
      'vm.mmu_invalidate_in_progress',
    );
  },
};

export const inv_mn_count: Check = {
  id: 'inv-mn-count',
  when: 'step',
  per: 'machine',
  summary:
    'mn_active_invalidate_count covers every interval that mmu_invalidate_in_progress counts',
  why: 'whoever looks only at the count would miss an invalidation that has begun',
  races: ['R67', 'R71'],
  reads: ['vm.mn_active_invalidate_count', 'vm.mmu_invalidate_in_progress', 'vm.spec.own_zaps'],
  broken(m) {
    const { mn_active_invalidate_count: active, mmu_invalidate_in_progress: inProgress } = m.vm;
    if (active >= inProgress - m.vm.spec.own_zaps && active >= 0) return undefined;
    return violated(
      `mn_active_invalidate_count is ${active} with ${inProgress} invalidations in progress`,
      'vm.mn_active_invalidate_count',
      'vm.mmu_invalidate_in_progress',
    );
  },
};

export const inv_range_covers: Check = {
  id: 'inv-range-covers',
  when: 'step',
  per: 'machine',
  summary: 'the invalidation range covers the page of every ongoing invalidation',
  why: 'a range that covers too little lets a fault install the page that is being taken away',
  races: [],
  reads: ['vm.mmu_invalidate_range_start', 'vm.mmu_invalidate_range_end', 'vm.spec.ongoing[*].**'],
  broken(m) {
    const { mmu_invalidate_range_start: start, mmu_invalidate_range_end: end } = m.vm;
    for (const { active, gfn } of m.vm.spec.ongoing) {
      if (!active || (gfn >= start && gfn < end)) continue;
      return violated(
        `the invalidation of gfn ${hex(gfn)} is outside the range [${hex(start)}, ${hex(end)})`,
        'vm.mmu_invalidate_range_start',
        'vm.mmu_invalidate_range_end',
      );
    }
    return undefined;
  },
};

export const inv_memslot_stable_in_inv: Check = {
  id: 'inv-memslot-stable-in-inv',
  when: 'step',
  per: 'machine',
  summary: 'memslots are never published while an invalidation is active',
  why: 'the end of the interval would not find the slot that its start counted',
  races: ['R67'],
  reads: ['vm.spec.slot_changes_in_invalidation'],
  broken(m) {
    return m.vm.spec.slot_changes_in_invalidation === 0
      ? undefined
      : violated(
          'memslots were published while mn_active_invalidate_count was above zero',
          'vm.memslots_generation',
          'vm.mn_active_invalidate_count',
        );
  },
};

export const inv_seq_monotonic: Check = {
  id: 'inv-seq-monotonic',
  when: 'step',
  per: 'machine',
  summary: 'mmu_invalidate_seq never decreases, and each end of an invalidation raises it',
  why: 'a look-up compares it with the value it saw before: a number that comes back hides a change',
  races: [],
  reads: ['vm.spec.ends', 'vm.mmu_invalidate_seq'],
  broken(m) {
    const { mmu_invalidate_seq: seq, spec } = m.vm;
    return seq >= spec.ends
      ? undefined
      : violated(
          `mmu_invalidate_seq is ${seq} after ${spec.ends} invalidations have ended`,
          'vm.mmu_invalidate_seq',
        );
  },
};
