// Trace T7 of the reference: race R76, the window between the pages and the entry.

import { expect, test } from 'vitest';
import { vcpuMode } from '#sim/state/vcpu.ts';
import { runLibrary, runText, scenarioText } from '../sim/scenario_run.ts';
import { vapicState } from './l2_pages.ts';
import { broken, Trace } from './trace.ts';

const { OUTSIDE_GUEST_MODE, IN_GUEST_MODE } = vcpuMode;

/** Rows 1 to 3, which both twins share. */
const untilFreed = (trace: Trace<ReturnType<typeof vapicState>>) => {
  const { machine } = trace.run;
  // 1. The entry gets the pages.
  const mapped = trace.after('vcpu0', 'nested_get_vmcs12_pages', 'VMWRITE VIRTUAL_APIC');
  const P1 = mapped.va;
  expect(mapped).toEqual({ gpc: [true, true, P1], va: P1, pt: P1, freed: [], get: false });
  // 2. mm invalidates the cache; nobody is interrupted.
  const gone = trace.after('mm', 'gfn_to_pfn_cache_invalidate_start', 'valid = false');
  expect(gone).toEqual({ ...mapped, gpc: [true, false, P1] });
  trace.after('mm', 'kvm_make_vcpus_request_mask', 'IN_GUEST_MODE becomes EXITING');
  expect(machine.vcpu[0]!.mode).toBe(OUTSIDE_GUEST_MODE);
  expect([machine.vcpu[0]!.requests.any(), machine.cpu[0]!.pending.any()]).toEqual([false, false]);
  // 3. P1 is freed, behind the end.
  const freed = trace.after('mm', 'madvise_dontneed_single_vma', 'tlb_finish_mmu');
  expect(freed).toEqual({ ...gone, pt: -1, freed: [P1] });
  return freed;
};

test('T7: L2 is entered with the frame that was freed', () => {
  const run = runLibrary('R76-gpc-v1-buggy');
  const trace = new Trace(run, vapicState);
  const freed = untilFreed(trace);
  // 4. The final check looks at the requests alone.
  trace.after('vcpu0', 'vcpu_enter_guest', 'mode = IN_GUEST_MODE');
  expect(trace.after('vcpu0', 'vcpu_enter_guest', 'final check')).toEqual(freed);
  expect(run.machine.vcpu[0]!.mode).toBe(IN_GUEST_MODE);
  // 5. The entry, and the first write of the CPU to its page.
  expect(trace.after('vcpu0', 'vmEntry', 'VM entry')).toEqual(freed);
  expect(trace.findings()).toEqual(['inv-nested-pages-match']);
  trace.after('vcpu0', 'guestInstruction', 'MOV to CR8');
  expect(trace.findings()).toEqual(['inv-freed-frame-untouched']);
  expect(broken(run)).toEqual(['inv-nested-pages-match', 'inv-freed-frame-untouched']);
});

test('T7 with the check: row 4 finds the cache, and vmcs02 gets P2', () => {
  const run = runLibrary('R76-gpc-v1-fixed');
  const trace = new Trace(run, vapicState);
  const freed = untilFreed(trace);
  const asked = trace.after('vcpu0', 'vcpu_enter_guest', 'make GET_NESTED_STATE_PAGES');
  expect(asked).toEqual({ ...freed, get: true });
  const again = trace.after('vcpu0', 'nested_get_vmcs12_pages', 'VMWRITE VIRTUAL_APIC');
  const P2 = again.va;
  expect(P2).not.toBe(freed.va);
  expect(again).toEqual({ ...freed, gpc: [true, true, P2], va: P2, pt: P2 });
  expect(trace.after('vcpu0', 'vmEntry', 'VM entry')).toEqual(again);
  expect(run.findings).toEqual([]);
});

const late = (kick: string): string =>
  scenarioText('R76-gpc-v1-fixed')
    .replace(/^race .*$/m, '')
    .replace('"guest_mode = 1"', '"guest_mode = 1"\n  vcpu0 to vmEntry "VM entry"')
    .replace('profile gpc-v1', `profile gpc-v1\nset gpc-vcpu-kick ${kick}`);

test('T7 without the kick: an invalidation behind the check lets L2 be entered all the same', () => {
  const run = runText(late('off'));
  expect(broken(run)).toContain('inv-nested-pages-match');
  expect(broken(run)).toContain('inv-freed-frame-untouched');
  expect(runText(late('on')).findings).toEqual([]);
});
