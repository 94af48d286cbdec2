// Trace T14 of the reference: race R67, a memslot that goes between start and end.

import { expect, test } from 'vitest';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { broken, Trace } from './trace.ts';

const state = ({ vm }: Machine) => ({
  inProgress: vm.mmu_invalidate_in_progress,
  active: vm.mn_active_invalidate_count,
});

test('T14: the end of the invalidation finds no slot, and in_progress stays 1', () => {
  const run = runLibrary('R67-k5.8-buggy');
  const trace = new Trace(run, state);
  // 1.
  const started = trace.after('mm', '__kvm_handle_hva_range', 'raise mmu_invalidate_in_progress');
  expect(started).toEqual({ inProgress: 1, active: 1 });
  // 2. The slot goes while the invalidation is active.
  trace.after('user', 'kvm_swap_active_memslots', 'publish');
  expect(trace.findings()).toEqual(['inv-memslot-stable-in-inv']);
  // 3. No slot overlaps any more.
  const ended = trace.after('mm', 'kvm_mmu_notifier_invalidate_range_end', 'lower mn_active');
  expect(ended).toEqual({ inProgress: 1, active: 0 });
  expect(trace.findings()).toContain('inv-inprogress-balance');
  expect(trace.end()).toEqual({ inProgress: 1, active: 0 });
});

test('T14 with the wait for active invalidations', () => {
  const run = runLibrary('R67-k5.8-fixed');
  expect(new Trace(run, state).end()).toEqual({ inProgress: 0, active: 0 });
  expect(broken(run)).toEqual([]);
});
