// Trace T6 of the reference: race R50, SVI after APICv came back.

import { expect, test } from 'vitest';
import { sviOf } from '#sim/hw/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { broken, Trace } from './trace.ts';

const state = (m: Machine) => {
  const { apic, vmcs01 } = m.vcpu[0]!;
  const { apicv_inhibit_reasons: reasons } = m.vm;
  return {
    inhibited: reasons.any(),
    active: apic.apicv_active,
    isr: apic.isr.highest(),
    svi: sviOf(vmcs01),
    ppr: apic.ppr,
  };
};

const handling = { inhibited: false, active: false, isr: 0x80, svi: 0 };

test('T6: SVI stays 0 when APICv comes back, and the EOI of 0x80 retires nothing', () => {
  const run = runLibrary('R50-k6.13-buggy');
  const trace = new Trace(run, state);
  trace.after('vcpu0', 'guestInstruction', 'PAUSE');
  // 1. The reason is taken back.
  const clears = 'apicv_inhibit_reasons = ';
  const cleared = trace.after('user', '__kvm_set_or_clear_apicv_inhibit', clears);
  expect(cleared).toMatchObject(handling);
  // 2. The vCPU follows; ISR is not empty, SVI stays 0.
  const active = trace.after('vcpu0', '__kvm_vcpu_update_apicv', 'apicv_active = ');
  expect(active).toMatchObject({ inhibited: false, active: true, isr: 0x80, svi: 0 });
  const entered = trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect([entered.isr, entered.svi]).toEqual([0x80, 0]);
  expect(trace.findings()).toEqual(['inv-svi-matches-isr']);
  // 3. The EOI clears the bit of vector 0, and SVI becomes 0x80: so does the PPR, for ever.
  const ended = trace.after('vcpu0', 'eoiVirtualization', 'clear VISR');
  expect([ended.isr, ended.svi]).toEqual([0x80, 0x80]);
  expect(trace.findings()).toEqual(['inv-isr-unique-class']);
  expect(trace.end()).toMatchObject({ isr: 0x80, svi: 0x80, ppr: 0x80 });
  expect(run.machine.vcpu[0]!.guest.delivered_count).toBe(1);
  expect(broken(run)).toContain('inv-vppr');
});

test('T6 with SVI written on activation', () => {
  const run = runLibrary('R50-k6.13-fixed');
  const trace = new Trace(run, state);
  trace.after('vcpu0', 'guestInstruction', 'PAUSE');
  trace.after('vcpu0', '__kvm_vcpu_update_apicv', 'apicv_active = ');
  const entered = trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect([entered.isr, entered.svi]).toEqual([0x80, 0x80]);
  expect(trace.end()).toMatchObject({ isr: -1, svi: 0, ppr: 0 });
  expect(run.findings).toEqual([]);
});
