// Trace T11 of the reference: race R58, a cache that nobody uses any more.

import { expect, test } from 'vitest';
import { runLibrary } from '../sim/scenario_run.ts';
import { vapicState } from './l2_pages.ts';
import { broken, Trace } from './trace.ts';

test('T11: the pages are got again and again, without the one that is gone', () => {
  const run = runLibrary('R58-gpc-v1-buggy');
  const trace = new Trace(run, vapicState);
  const { machine } = run;
  // 1. The first run of L2 leaves its cache active.
  const mapped = trace.after('vcpu0', 'nested_get_vmcs12_pages', 'VMWRITE VIRTUAL_APIC');
  const P1 = mapped.va;
  expect(mapped.gpc).toEqual([true, true, P1]);
  trace.after('vcpu0', '__nested_vmx_vmexit', 'guest_mode = 0');
  expect(trace.after('vcpu0', 'nested_get_vmcs12_pages', 'which pages').gpc).toEqual(mapped.gpc);
  // 2. mm invalidates it, and kicks.
  const gone = trace.after('mm', 'gfn_to_pfn_cache_invalidate_start', 'valid = false');
  expect(gone.gpc).toEqual([true, false, P1]);
  // 3. to 5. The final check, the handler, and the final check again.
  for (const failed of [1, 2, 3]) {
    const found = trace.after('vcpu0', 'vcpu_enter_guest', 'page of L1 taken away');
    expect(found.gpc).toEqual([true, false, P1]);
    expect(machine.vcpu[0]!.spec.failed_final_checks).toBe(failed);
    expect(trace.findings()).toEqual(failed === 3 ? ['inv-gpc-progress'] : []);
    expect(trace.after('vcpu0', 'vcpu_enter_guest', 'make GET_NESTED').get).toBe(true);
    expect(trace.after('vcpu0', 'nested_get_vmcs12_pages', 'which pages').get).toBe(false);
  }
  expect(broken(run)).toEqual(['inv-gpc-progress']);
});

test('T11 with unused caches given up: mm finds none', () => {
  const run = runLibrary('R58-gpc-v1-fixed');
  const trace = new Trace(run, vapicState);
  trace.after('vcpu0', '__nested_vmx_vmexit', 'guest_mode = 0');
  const given = trace.after('vcpu0', 'kvm_gpc_deactivate', 'active = valid = false');
  expect(given.gpc).toEqual([false, false, -1]);
  expect(run.machine.vm.stat.gpc_invalidations).toBe(0);
  expect(run.findings).toEqual([]);
});
