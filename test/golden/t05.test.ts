// Trace T5 of the reference: race R32, an EOI by L2 and SVI of L1.

import { expect, test } from 'vitest';
import { readFrame } from '#sim/hw/memory.ts';
import { sviOf } from '#sim/hw/vmcs.ts';
import { APIC_PROCPRI } from '#sim/state/apicdef.ts';
import { hpa_to_pfn } from '#sim/state/machine.ts';
import { loadedVmcs } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { broken, Trace } from './trace.ts';

const state = (m: Machine) => {
  const { vmcs01, vmcs02, apic, nested, guest_mode, loaded_vmcs } = m.vcpu[0]!;
  return {
    isr: apic.isr.has(0x80),
    svi01: sviOf(vmcs01),
    svi02: sviOf(vmcs02),
    deferred: nested.update_vmcs01_hwapic_isr,
    l2: guest_mode,
    loaded: loaded_vmcs,
  };
};

const { VMCS01, VMCS02 } = loadedVmcs;

const handled = { isr: true, svi01: 0x80, svi02: 0, deferred: false, l2: true, loaded: VMCS02 };

const vppr = (m: Machine): number =>
  readFrame(m, hpa_to_pfn(m.vcpu[0]!.vmcs01.virtual_apic_page_addr), APIC_PROCPRI);

test('T5: the EOI by L2 leaves SVI of vmcs01 behind, and vector 0x61 waits', () => {
  const run = runLibrary('R32-k6.6-buggy');
  const trace = new Trace(run, state);
  expect(trace.after('vcpu0', 'apic_set_eoi', 'which vector')).toEqual(handled);
  // 1. and 2. ISR is empty; SVI goes into vmcs02.
  const ended = trace.after('vcpu0', 'apic_set_eoi', 'clear vector');
  expect(ended).toEqual({ ...handled, isr: false });
  expect(trace.findings().sort()).toEqual(['inv-vmcs-loaded', 'inv-vmcs02-only-l2-state']);
  // 3. The nested exit.
  const left = trace.after('vcpu0', 'vmx_switch_vmcs', 'load the other');
  expect(left).toEqual({ ...ended, l2: false, loaded: VMCS01 });
  // 4. L1 runs with SVI 0x80.
  const entered = trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect([entered.isr, entered.svi01]).toEqual([false, 0x80]);
  expect(trace.findings()).toEqual(['inv-svi-matches-isr']);
  trace.end();
  const { machine } = run;
  expect(vppr(machine)).toBe(0x80);
  expect(machine.vcpu[0]!.apic.irr.has(0x61)).toBe(true);
  expect(machine.vcpu[0]!.guest.delivered_count).toBe(1);
  expect(broken(run).sort()).toEqual([
    'inv-svi-matches-isr',
    'inv-vmcs-loaded',
    'inv-vmcs02-only-l2-state',
    'inv-vppr',
  ]);
});

test('T5 with `defer`: a flag at step 2, and SVI is 0 at the exit', () => {
  const run = runLibrary('R32-k6.6-fixed');
  const trace = new Trace(run, state);
  const ended = trace.after('vcpu0', 'apic_set_eoi', 'clear vector');
  expect(ended).toEqual({ ...handled, isr: false, deferred: true });
  const left = trace.after('vcpu0', '__nested_vmx_vmexit', 'SVI = the highest');
  expect([left.svi01, left.deferred, left.loaded]).toEqual([0, false, VMCS01]);
  trace.end();
  expect(run.machine.vcpu[0]!.guest.delivered_count).toBe(2);
  expect(run.findings).toEqual([]);
});

test('T5 with `on-demand`: vmcs01 is loaded, written and left at step 2', () => {
  const run = runLibrary('R32-k7.0-on-demand');
  const trace = new Trace(run, state);
  trace.after('vcpu0', 'apic_set_eoi', 'which vector');
  const before = run.machine.vcpu[0]!.stat.vmcs01_guard_switches;
  const ended = trace.after('vcpu0', 'apic_set_eoi', 'clear vector');
  expect(ended).toEqual({ ...handled, isr: false, svi01: 0 });
  expect(run.machine.vcpu[0]!.stat.vmcs01_guard_switches).toBe(before + 1);
  expect(run.findings).toEqual([]);
});
