// Trace T2 of the reference: race R03, a flush of the current root alone.

import { expect, test } from 'vitest';
import { KVM_REQ } from '#sim/state/requests.ts';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { broken, Trace } from './trace.ts';

/** The page X of L1, and the roots of its two levels. */
const X = 8;
const R1 = 0;
const R2 = 1;

const mapped = (m: Machine, root: number): number =>
  m.ept[root]!.spte.find(({ present, gfn }) => present && gfn === X)?.pfn ?? -1;

const state = (m: Machine) => ({
  ept01: mapped(m, R1),
  ept02: mapped(m, R2),
  tlb: m.cpu[0]!.tlb.filter(({ valid, gfn }) => valid && gfn === X)
    .map(({ ep4ta, pfn }) => `R${ep4ta + 1}: ${pfn}`)
    .sort(),
  freed: m.frame.filter(({ freed }) => freed).map(({ index }) => index),
  l2: m.vcpu[0]!.guest_mode,
});

test('T2: what L2 has cached outlives a flush of the current root', () => {
  const run = runLibrary('R03-k6.6-buggy');
  const trace = new Trace(run, state);
  const initial = trace.after('mm', 'scenarioProgram');
  const P1 = initial.ept01;
  expect(initial).toEqual({
    ept01: P1,
    ept02: P1,
    tlb: [`R1: ${P1}`, `R2: ${P1}`],
    freed: [],
    l2: false,
  });
  // 1. mm zaps X in both; the order of the roots is that of their numbers.
  trace.after('mm', 'kvm_tdp_mmu_unmap_gfn_range', 'zap the entry');
  const zapped = trace.after('mm', 'kvm_tdp_mmu_unmap_gfn_range', 'zap the entry');
  expect(zapped).toEqual({ ...initial, ept01: -1, ept02: -1 });
  // 2. The vCPU flushes the current EP4TA: that of L1.
  const flushed = trace.after('vcpu0', 'kvm_vcpu_flush_tlb_all', 'flush the current EP4TA');
  expect(flushed).toEqual({ ...zapped, tlb: [`R2: ${P1}`] });
  // 3. mm frees P1.
  const moved = trace.after('mm', 'migrate_pages', 'copy it');
  expect(moved).toEqual({ ...flushed, freed: [P1] });
  // The stale translation can be used from the next entry on, of whichever level.
  trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect(trace.findings()).toEqual(['inv-no-stale-tlb']);
  // 4. The entry into L2 loads R2.
  expect(trace.after('vcpu0', 'nested_vmx_enter_non_root_mode', 'guest_mode = 1').l2).toBe(true);
  const entered = trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect([entered.tlb, entered.freed]).toEqual([[`R2: ${P1}`], [P1]]);
  // 5. L2 writes X.
  trace.after('vcpu0', 'guestAccess', 'access pfn');
  expect(trace.findings()).toEqual(['inv-freed-frame-untouched']);
  expect(broken(run)).toEqual(['inv-no-stale-tlb', 'inv-freed-frame-untouched']);
});

test('T2 with a flush of every root: TLB_FLUSH empties both tags at step 2', () => {
  const run = runLibrary('R03-k6.6-fixed');
  const trace = new Trace(run, state);
  trace.after('mm', 'kvm_make_all_cpus_request', 'set the bit');
  expect(run.machine.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH)).toBe(true);
  const flushed = trace.after('vcpu0', 'kvm_vcpu_flush_tlb_all', 'flush every EP4TA');
  expect(flushed.tlb).toEqual([]);
  expect(run.findings).toEqual([]);
});
