// Trace T1 of the reference: race R01, step by step, with the state that each step leaves.

import { expect, test } from 'vitest';
import { pteOf } from '#sim/host/page_table.ts';
import { spteOf } from '#sim/hw/ept.ts';
import { apicAccessGfn, hvaOfApicAccessPage } from '#sim/state/addresses.ts';
import { hpa_to_pfn } from '#sim/state/machine.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import type { Machine } from '#sim/steps.ts';
import { goToPosition, runText, scenarioText } from '../sim/scenario_run.ts';
import { Trace } from './trace.ts';

const text = scenarioText('R01-k4.15-buggy');
const P1 = 2;
const P2 = 3;

/** The state as the table of the reference has it; ∅ is −1. */
const state = (m: Machine) => {
  const { vm, vcpu, cpu } = m;
  const root = spteOf(m, 0, apicAccessGfn);
  return {
    pt: m.pte[pteOf(m, hvaOfApicAccessPage)]!.pfn,
    ept01: root < 0 ? -1 : m.ept[0]!.spte[root]!.pfn,
    apicAccess: hpa_to_pfn(vcpu[0]!.vmcs01.apic_access_addr),
    tlb: cpu[0]!.tlb.filter(({ valid }) => valid).map(({ pfn }) => pfn),
    reload: vcpu[0]!.requests.has(KVM_REQ.APIC_PAGE_RELOAD),
    seq: vm.mmu_invalidate_seq,
    inProgress: vm.mmu_invalidate_in_progress,
    mnActive: vm.mn_active_invalidate_count,
    freed: m.frame[P1]!.freed,
  };
};

type State = ReturnType<typeof state>;
type Reader = Trace<State>;

/** Step 1: range_start. This era made the request after it had dropped mmu_lock. */
const invalidationBegins = (trace: Reader, initial: State): State => {
  const { machine } = trace.run;
  trace.after('mm', 'kvm_mmu_notifier_invalidate_range_start', 'raise mn_active');
  trace.after('mm', '__kvm_handle_hva_range', 'raise mmu_invalidate_in_progress');
  const zapped = trace.after('mm', 'kvm_tdp_mmu_unmap_gfn_range', 'zap the entry');
  expect(zapped).toEqual({ ...initial, ept01: -1, inProgress: 1, mnActive: 1 });
  trace.after('mm', 'kvm_make_all_cpus_request', 'set the bit');
  expect(machine.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH)).toBe(true);
  const unlocked = trace.after('mm', '__kvm_handle_hva_range', 'unlock mmu_lock');
  expect([unlocked.reload, machine.vm.mmu_lock.writer]).toEqual([false, 0]);
  const asked = trace.after('mm', 'kvm_make_all_cpus_request', 'set the bit');
  expect(asked).toEqual({ ...zapped, reload: true });
  return asked;
};

/** Steps 2 to 4: flush, look-up, VMWRITE. */
const vcpuReloads = (trace: Reader, asked: State): State => {
  const { machine } = trace.run;
  const flushed = trace.after('vcpu0', 'kvm_vcpu_flush_tlb_all', 'flush every EP4TA');
  expect(flushed).toEqual({ ...asked, tlb: [] });
  const cleared = trace.after('vcpu0', 'kvm_check_request', 'clear request');
  expect(cleared).toEqual({ ...flushed, reload: false });
  expect(trace.after('vcpu0', 'get_user_pages_unlocked', 'read the primary PTE').pt).toBe(P1);
  const { depth, stack } = machine.actor[0]!;
  expect(stack[depth - 1]!.local[0]!.value).toBe(P1);
  const written = trace.after('vcpu0', 'vmx_set_apic_access_page_addr', 'VMWRITE APIC_ACCESS_ADDR');
  expect(written).toEqual(cleared);
  trace.after('vcpu0', 'vmx_set_apic_access_page_addr', 'flush the current EP4TA');
  trace.after('vcpu0', 'vmx_set_apic_access_page_addr', 'put_page');
  expect(machine.frame[P1]!.refcount).toBe(1);
  return written;
};

/** Steps 5 and 6: the page moves, the interval ends. */
const pageMoves = (trace: Reader, written: State): State => {
  trace.after('mm', 'try_to_migrate_one', 'clear the primary PTE');
  const moved = trace.after('mm', 'migrate_pages', 'copy it');
  expect(moved).toEqual({ ...written, pt: P2, freed: true });
  expect(trace.findings()).toEqual(['inv-reload-pending-during-inv']);
  trace.after('mm', 'kvm_mmu_notifier_invalidate_range_end', 'raise mmu_invalidate_seq');
  const ended = trace.after('mm', 'kvm_mmu_notifier_invalidate_range_end', 'lower mn_active');
  expect(ended).toEqual({ ...moved, seq: 1, inProgress: 0, mnActive: 0 });
  return ended;
};

/** Steps 7 to 9: entry, EPT violation, and the access that goes to the bytes of the page. */
const guestReads = (trace: Reader, ended: State): void => {
  trace.after('vcpu0', 'vcpu_enter_guest', 'final check');
  expect(trace.run.machine.vcpu[0]!.requests.any()).toBe(false);
  trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect(trace.findings()).toEqual(['inv-apic-access-hpa']);
  trace.after('vcpu0', 'guestAccess', 'not in the TLB, walk the EPT');
  const installed = trace.after('vcpu0', 'kvm_tdp_page_fault', 'map gfn {gfn} to pfn {pfn}');
  expect(installed).toEqual({ ...ended, ept01: P2 });
  trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect(trace.findings()).toEqual(['inv-apic-access-ept-match']);
  trace.after('vcpu0', 'guestAccess', 'access pfn');
  expect(trace.findings()).toEqual(['inv-no-raw-apic-page']);
};

test('T1: the reload inside the invalidation writes the dying page, in nine steps', () => {
  const run = runText(text);
  goToPosition(run, 0);
  const initial = state(run.machine);
  expect(initial).toEqual({
    pt: P1,
    ept01: P1,
    apicAccess: P1,
    tlb: [P1],
    reload: false,
    seq: 0,
    inProgress: 0,
    mnActive: 0,
    freed: false,
  });
  const trace = new Trace(run, state);
  const asked = invalidationBegins(trace, initial);
  const written = vcpuReloads(trace, asked);
  const ended = pageMoves(trace, written);
  guestReads(trace, ended);
  expect(run.findings.map(({ check }) => check)).toEqual([
    'inv-reload-pending-during-inv',
    'inv-apic-access-hpa',
    'inv-apic-access-ept-match',
    'inv-no-raw-apic-page',
  ]);
});

test('T1 with the retry check: step 4 asks again until step 6, then P2 is written', () => {
  const run = runText(text, { switches: { 'apic-reload-retry': 'on' } });
  expect(run.findings).toEqual([]);
  const trace = new Trace(run, state);
  trace.after('vcpu0', 'vmx_set_apic_access_page_addr', 'mmu_invalidate_retry_gfn');
  const again = trace.after(
    'vcpu0',
    'vmx_set_apic_access_page_addr',
    'make APIC_PAGE_RELOAD again',
  );
  expect([again.reload, again.inProgress, again.apicAccess]).toEqual([true, 1, P1]);
  const ended = trace.after('mm', 'kvm_mmu_notifier_invalidate_range_end', 'lower mn_active');
  expect([ended.reload, ended.freed]).toEqual([true, true]);
  const written = trace.after('vcpu0', 'vmx_set_apic_access_page_addr', 'VMWRITE APIC_ACCESS_ADDR');
  expect([written.apicAccess, written.reload]).toEqual([P2, false]);
  trace.after('vcpu0', 'vmEntry', 'VM entry');
});

test('T1 with the request from ->invalidate_range: RELOAD is set again at step 5', () => {
  const run = runText(text, { switches: { 'apic-reload-hook': 'invalidate_range' } });
  expect(run.findings).toEqual([]);
  const trace = new Trace(run, state);
  const unlocked = trace.after('mm', '__kvm_handle_hva_range', 'unlock mmu_lock');
  expect(unlocked.reload).toBe(false);
  trace.after('mm', 'try_to_migrate_one', 'clear the primary PTE');
  const asked = trace.after('mm', 'kvm_make_all_cpus_request', 'set the bit');
  expect([asked.reload, asked.pt, asked.freed]).toEqual([true, P1, false]);
  const written = trace.after('vcpu0', 'vmx_set_apic_access_page_addr', 'VMWRITE APIC_ACCESS_ADDR');
  expect([written.apicAccess, written.pt]).toEqual([P2, P2]);
});

test.each(['k5.8', 'k6.6'])('the schedule of T1 does no harm to %s', (profile) => {
  const run = runText(text, { profile });
  expect(run.findings).toEqual([]);
  goToPosition(run, run.run.steps);
  const end = state(run.machine);
  expect([end.pt, end.apicAccess, end.freed]).toEqual([P2, P2, true]);
  expect([P2, -1]).toContain(end.ept01);
});
