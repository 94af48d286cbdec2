// Trace T10 of the reference: race R79, a deadlock between a vCPU and an invalidation.

import { expect, test } from 'vitest';
import { gpcOf } from '#sim/state/gpc.ts';
import { wantedLock } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { gpcState, PI_DESC, VAPIC } from './l2_pages.ts';
import { broken, Trace } from './trace.ts';

const state = (m: Machine) => ({
  pid: gpcState(m, PI_DESC).slice(0, 2),
  vapic: gpcState(m, VAPIC).slice(0, 2),
  readers: gpcOf(m, PI_DESC).lock.readers,
  mnActive: m.vm.mn_active_invalidate_count,
  pending: m.vcpu[0]!.nested.pi_pending,
});

const actorOf = (m: Machine, name: string): number => m.threads.find((t) => t.name === name)!.index;

test('T10: the vCPU waits for mm, and mm for the lock that the vCPU holds', () => {
  const run = runLibrary('R79-gpc-v1-buggy');
  const trace = new Trace(run, state);
  const { machine } = run;
  const { held } = machine.vm.spec;
  // 1. The vCPU has the lock of the descriptor. The virtual-APIC page has gone meanwhile.
  const looked = trace.after('vcpu0', 'vmx_complete_nested_posted_interrupt', 'is a notification');
  expect(looked.pending).toBe(true);
  const cleared = trace.after('vcpu0', 'vmx_complete_nested_posted_interrupt', 'clear ON');
  expect(cleared).toEqual({
    pid: [true, true],
    vapic: [true, true],
    readers: 1,
    mnActive: 0,
    pending: false,
  });
  trace.after('mm', 'gfn_to_pfn_cache_invalidate_start', 'valid = false');
  // 2. mm1 covers the descriptor.
  const begun = trace.after('mm1', 'kvm_mmu_notifier_invalidate_range_start', 'raise mn_active');
  expect(begun).toEqual({ ...cleared, vapic: [true, false], mnActive: 1 });
  trace.after('mm1', 'gfn_to_pfn_cache_invalidate_start', 'read_unlock');
  trace.after('mm1', 'gfn_to_pfn_cache_invalidate_start', 'read_unlock');
  const { wants, wanted } = held[actorOf(machine, 'mm1')]!;
  expect([wants, wanted]).toEqual([wantedLock.GPC_WRITE, PI_DESC]);
  // 3. The vCPU looks the other page up, and does so again.
  trace.after('vcpu0', 'kvm_gpc_refresh', 'lock gpc.refresh_lock');
  expect(trace.findings()).toEqual(['inv-gpc-no-sleep-locked']);
  trace.after('vcpu0', 'hva_to_pfn_retry', 'was anything invalidated');
  expect(held[0]!.looks_again).toBe(true);
  expect(trace.findings()).toEqual(['inv-gpc-lock-order']);
  expect([run.run.halt, trace.end().mnActive]).toEqual(['deadlock', 1]);
  expect(broken(run)).toEqual(['inv-gpc-no-sleep-locked', 'inv-gpc-lock-order']);
});

test('T10 with the lock dropped before the look-up comes to an end', () => {
  const run = runLibrary('R79-gpc-v1-fixed');
  expect([run.run.halt, run.findings]).toEqual(['quiet', []]);
  expect(run.machine.vcpu[0]!.guest.delivered_count).toBe(1);
});
