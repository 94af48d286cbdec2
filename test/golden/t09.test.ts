// Trace T9 of the reference: race R78, which is open with every guard of the series.

import { expect, test } from 'vitest';
import { profileOf } from '#sim/state/switches.ts';
import { mpState } from '#sim/state/vcpu.ts';
import { compileLibrary, runLibrary } from '../sim/scenario_run.ts';
import { vapicState } from './l2_pages.ts';
import { Trace } from './trace.ts';

/** Rows 1 to 4: until the event callback has made the cache valid. */
const untilValid = (trace: Trace<ReturnType<typeof vapicState>>) => {
  const { machine } = trace.run;
  // 1. L2 runs.
  trace.after('vcpu0', 'nested_vmx_enter_non_root_mode', 'guest_mode = 1');
  const running = trace.after('vcpu0', 'vmEntry', 'VM entry');
  const P1 = running.va;
  expect(running).toEqual({ gpc: [true, true, P1], va: P1, pt: P1, freed: [], get: false });
  // 2. It halts, and L1 does not want that exit.
  trace.after('vcpu0', 'guestInstruction', 'HLT');
  trace.after('vcpu0', 'kvm_emulate_halt_noskip', 'mp_state');
  const { guest_mode, mp_state } = machine.vcpu[0]!;
  expect([guest_mode, mp_state]).toEqual([true, mpState.HALTED]);
  // 3. mm drops the page; the request leaves no bit.
  trace.after('mm', 'gfn_to_pfn_cache_invalidate_start', 'valid = false');
  const freed = trace.after('mm', 'madvise_dontneed_single_vma', 'tlb_finish_mmu');
  expect(freed).toEqual({ ...running, gpc: [true, false, P1], pt: -1, freed: [P1] });
  // 4. The block path looks for events.
  const valid = trace.after('vcpu0', 'hva_to_pfn_retry', 'valid = true');
  const P2 = valid.pt;
  expect(P2).not.toBe(P1);
  expect(valid).toEqual({ ...freed, gpc: [true, true, P2], pt: P2 });
  return valid;
};

test('T9: with all real guards on, L2 is entered with the frame that was freed', () => {
  const scenario = compileLibrary('R78-gpc-v1-buggy');
  // What no kernel has keeps R79 and R80 out of the trace.
  const { switches } = profileOf('gpc-v1')!;
  const kept = {
    'gpc-unlock-before-refresh': 'on',
    'gpc-nosleep-in-block': 'on',
    'nested-nv-redeliver': 'on',
  };
  expect(scenario.switches).toEqual({ ...switches, ...kept });
  const run = runLibrary('R78-gpc-v1-buggy');
  const trace = new Trace(run, vapicState);
  const valid = untilValid(trace);
  trace.after('vcpu0', 'vmx_has_nested_events', 'read VPPR');
  // 5. An interrupt wakes the vCPU.
  trace.after('vcpu0', 'schedule', 'asleep');
  // 6. The final check passes.
  expect(trace.after('vcpu0', 'vcpu_enter_guest', 'page of L1 taken away')).toEqual(valid);
  expect(run.machine.vcpu[0]!.stat.gpc_final_check_fails).toBe(0);
  // 7. The CPU runs L2 with P1.
  expect(trace.after('vcpu0', 'vmEntry', 'VM entry')).toEqual(valid);
  expect(trace.findings()).toEqual(['inv-nested-pages-match', 'inv-vmcs02-equals-gpc']);
  trace.after('vcpu0', 'virtualInterruptDelivery', 'set VISR');
  expect(trace.findings()).toEqual(['inv-freed-frame-untouched']);
});

test('T9 with a request by the event callback: vmcs02 follows', () => {
  const run = runLibrary('R78-gpc-v1-fixed');
  const trace = new Trace(run, vapicState);
  const valid = untilValid(trace);
  const asked = trace.after('vcpu0', 'nested_gpc_lock_if_active', 'make GET_NESTED');
  expect(asked).toEqual({ ...valid, get: true });
  const written = trace.after('vcpu0', 'nested_get_vmcs12_pages', 'VMWRITE VIRTUAL_APIC');
  expect([written.va, written.get]).toEqual([valid.pt, false]);
  expect(run.findings).toEqual([]);
});
