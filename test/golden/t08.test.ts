// Trace T8 of the reference: race R77, a cache that cannot be mapped.

import { expect, test } from 'vitest';
import { INVALID_GPA } from '#sim/state/addresses.ts';
import { cpuControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { gpcState, VAPIC } from './l2_pages.ts';
import { broken, Trace } from './trace.ts';

const state = (m: Machine) => {
  const { vmcs02, spec } = m.vcpu[0]!;
  return {
    gpc: gpcState(m, VAPIC),
    shadow: vmcs02.cpu_based_vm_exec_control.has(cpuControl.TPR_SHADOW),
    invalid: vmcs02.virtual_apic_page_addr === INVALID_GPA,
    failed: spec.failed_final_checks,
  };
};

/** The rows that repeat: the final check fails, the pages are got, which fails. */
const round = (trace: Trace<ReturnType<typeof state>>, failed: number): void => {
  const found = trace.after('vcpu0', 'vcpu_enter_guest', 'page of L1 taken away');
  expect(found).toEqual({ gpc: [true, false, -1], shadow: false, invalid: false, failed });
  expect(trace.findings()).toEqual(failed === 3 ? ['inv-gpc-progress'] : []);
  trace.after('vcpu0', 'vcpu_enter_guest', 'make GET_NESTED_STATE_PAGES');
  const refused = trace.after('vcpu0', '__kvm_gpc_refresh', 'the refresh failed');
  expect(refused.gpc).toEqual([true, false, -1]);
  const cleared = trace.after('vcpu0', 'nested_get_vmcs12_pages', 'clear "use TPR shadow"');
  expect(cleared.shadow).toBe(false);
};

test('T8: the final check fails again and again', () => {
  const run = runLibrary('R77-gpc-v1-buggy');
  const trace = new Trace(run, state);
  trace.after('vcpu0', '__kvm_gpc_refresh', 'the refresh failed');
  for (const failed of [1, 2, 3]) round(trace, failed);
  expect(broken(run)).toEqual(['inv-gpc-progress']);
});

test('T8 with the deactivation: L2 is entered without its TPR shadow', () => {
  const run = runLibrary('R77-gpc-v1-fixed');
  const trace = new Trace(run, state);
  trace.after('vcpu0', '__kvm_gpc_refresh', 'the refresh failed');
  const given = trace.after('vcpu0', 'kvm_gpc_deactivate', 'active = valid = false');
  expect(given.gpc).toEqual([false, false, -1]);
  trace.after('vcpu0', 'nested_get_vmcs12_pages', 'clear "use TPR shadow"');
  const entered = trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect(entered).toEqual({ gpc: [false, false, -1], shadow: false, invalid: false, failed: 0 });
  expect(run.findings).toEqual([]);
});
