// Traces T3 and T4 of the reference: races R20 and R22, a vector in PIR that nobody looks for.

import { expect, test } from 'vitest';
import { rviOf } from '#sim/hw/vmcs.ts';
import { vcpuMode } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { runLibrary } from '../sim/scenario_run.ts';
import { broken, Trace } from './trace.ts';

const { OUTSIDE_GUEST_MODE, IN_GUEST_MODE } = vcpuMode;

const state = (m: Machine) => {
  const { pi_desc, mode, apic, vmcs01 } = m.vcpu[0]!;
  return {
    pir: pi_desc.pir.highest(),
    on: pi_desc.on,
    mode,
    irr: apic.irr.highest(),
    rvi: rviOf(vmcs01),
  };
};

const before = { pir: -1, on: false, mode: OUTSIDE_GUEST_MODE, irr: -1, rvi: 0 };
const posted = { ...before, pir: 0x51, on: true };

test('T3: PIR is harvested before the mode is stored: the sender sees OUTSIDE_GUEST_MODE', () => {
  const run = runLibrary('R20-k7.0-buggy');
  const trace = new Trace(run, state);
  // 1. The harvest finds ON clear.
  expect(trace.after('vcpu0', 'vmx_sync_pir_to_irr', 'is ON set')).toEqual(before);
  // 2. and 3.
  const set = trace.after('dev', '__vmx_deliver_posted_interrupt', 'set vector');
  expect(set).toEqual({ ...before, pir: 0x51 });
  expect(trace.after('dev', '__vmx_deliver_posted_interrupt', 'set ON')).toEqual(posted);
  // 4. The vCPU is outside, and does not sleep.
  expect(trace.after('dev', 'kvm_vcpu_trigger_posted_interrupt', 'wake')).toEqual(posted);
  // 5.
  const inGuest = { ...posted, mode: IN_GUEST_MODE };
  expect(trace.after('vcpu0', 'vcpu_enter_guest', 'mode = IN_GUEST_MODE')).toEqual(inGuest);
  expect(trace.after('vcpu0', 'vcpu_enter_guest', 'final check')).toEqual(inGuest);
  // 6.
  expect(trace.after('vcpu0', 'vmEntry', 'VM entry')).toEqual(inGuest);
  expect(trace.findings()).toEqual(['inv-on-notified']);
  expect(trace.end()).toEqual(inGuest);
  expect(broken(run)).toContain('inv-pi-not-lost');
});

test('T3 with the harvest behind the mode: RVI has the vector at the entry', () => {
  const run = runLibrary('R20-k7.0-fixed');
  const trace = new Trace(run, state);
  expect(trace.after('vcpu0', 'vcpu_enter_guest', 'mode = IN_GUEST_MODE').on).toBe(true);
  const entered = trace.after('vcpu0', 'vmEntry', 'VM entry');
  expect(entered).toEqual({ ...before, mode: IN_GUEST_MODE, irr: 0x51, rvi: 0x51 });
  trace.end();
  expect(run.machine.vcpu[0]!.guest.delivered_count).toBe(1);
  expect(run.findings).toEqual([]);
});

test('T4: the notification goes out before ON is set, and no later one does', () => {
  const run = runLibrary('R22-k7.0-buggy');
  const trace = new Trace(run, state);
  const ofSender = '__vmx_deliver_posted_interrupt';
  // 1.
  const set = trace.after('dev', ofSender, 'set vector');
  expect([set.pir, set.on]).toEqual([0x51, false]);
  // 2. The CPU takes PIR with ON clear, and delivers.
  trace.after('dev', 'kvm_vcpu_trigger_posted_interrupt', 'send vector');
  const taken = trace.after('vcpu0', 'postedInterruptProcessing', 'take word');
  expect([taken.pir, taken.on, taken.rvi]).toEqual([-1, false, 0x51]);
  trace.after('vcpu0', 'virtualInterruptDelivery', 'through the IDT');
  // 3. ON, which nobody will clear.
  const on = trace.after('dev', ofSender, 'set ON');
  expect([on.pir, on.on]).toEqual([-1, true]);
  expect(trace.findings()).toEqual(['inv-on-notified']);
  // 4. The next sender finds it set, and sends nothing.
  trace.after('dev', ofSender, 'set vector');
  trace.after('dev', ofSender, 'is ON set');
  expect(trace.end()).toMatchObject({ pir: 0x61, on: true });
  expect(run.machine.vcpu[0]!.guest.delivered_count).toBe(1);
  expect(broken(run)).toContain('inv-pi-not-lost');
});
