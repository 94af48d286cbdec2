// Trace T12 of the reference: race R47a, a vector restored where nobody looks for one.

import { expect, test } from 'vitest';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { broken, Trace } from './trace.ts';

const state = (m: Machine) => {
  const { apic } = m.vcpu[0]!;
  return {
    active: apic.apicv_active,
    irr: apic.irr.highest(),
    irrPending: apic.irr_pending,
    isrCount: apic.isr_count,
    cache: apic.highest_isr_cache,
  };
};

test('T12: KVM_SET_LAPIC brings 0x51, and irr_pending says that there is none', () => {
  const run = runLibrary('R47-k6.6-buggy');
  const trace = new Trace(run, state);
  const restored = { active: false, irr: 0x51, irrPending: false, isrCount: 0, cache: -1 };
  // 3. and 4. The registers are there, and the PPR is computed without them.
  expect(trace.after('user', 'apic_update_ppr', 'recompute')).toEqual(restored);
  // 5.
  expect(trace.after('user', 'kvm_apic_update_apicv', 'isr_count')).toEqual(restored);
  expect(trace.findings()).toEqual(['inv-irr-hint']);
  // 6. and 7. EVENT finds nothing to inject.
  trace.after('user', 'kvm_apic_set_state', 'make EVENT');
  expect(trace.end()).toEqual(restored);
  expect(run.machine.vcpu[0]!.guest.delivered_count).toBe(0);
  expect(broken(run)).toContain('inv-blocked-has-no-irq');
});

test('T12 with irr_pending set on every transition: 0x51 is injected', () => {
  const run = runLibrary('R47-k6.6-fixed');
  const trace = new Trace(run, state);
  expect(trace.after('user', 'kvm_apic_update_apicv', 'isr_count').irrPending).toBe(true);
  trace.end();
  expect(run.machine.vcpu[0]!.guest.delivered_count).toBe(1);
  expect(run.findings).toEqual([]);
});
