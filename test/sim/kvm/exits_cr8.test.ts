// CR8 where the guest's access exits, and exit 43 where lowering it does.

import { expect, test } from 'vitest';
import type { Instruction } from '#sim/state/program.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { cpuControl, exitReason } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { goOn, goTo } from '../small_machine.ts';
import { machineWith } from './lapic_machine.ts';

const toCr8 = (value: number): Instruction => ({ op: 'mov-to-cr8', operands: [value] });
const fromCr8: Instruction = { op: 'mov-from-cr8', operands: [] };
/** Vector 0x41, to itself: KVM emulates the write of the ICR. */
const selfIpi: Instruction = { op: 'write', operands: [0xfee0_0300, 0x4_0041] };
const pause: Instruction = { op: 'pause', operands: [] };

const withProgram = (...program: Instruction[]): Machine =>
  machineWith({ programs: { vcpu0: program }, apics: [{ interrupts: true }] });

/** A CPU without a TPR shadow: KVM emulates every access. */
const withoutShadow = (...program: Instruction[]): Machine => {
  const m = withProgram(...program);
  const { cpu_based_vm_exec_control: controls } = m.vcpu[0]!.vmcs01;
  controls.clear(cpuControl.TPR_SHADOW);
  controls.set(cpuControl.CR8_LOAD);
  controls.set(cpuControl.CR8_STORE);
  return m;
};

test('a write exits, and KVM writes the class into the TPR', () => {
  const m = withoutShadow(toCr8(5), pause);
  goTo(m, 'vcpu0', 'apic_set_tpr');
  const { vmcs01, apic, guest } = m.vcpu[0]!;
  expect(vmcs01.vm_exit_reason).toBe(exitReason.CR_ACCESS);
  expect(vmcs01.exit_qualification).toBe(0x08);
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  expect([apic.tpr, guest.faulted]).toEqual([0x50, 0]);
});

test('a read exits, and gives the class of the TPR', () => {
  const m = withoutShadow(fromCr8, pause);
  m.vcpu[0]!.apic.tpr = 0x73;
  goTo(m, 'vcpu0', 'handle_cr');
  expect(m.vcpu[0]!.vmcs01.exit_qualification).toBe(0x18);
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  expect(m.vcpu[0]!.guest.value).toBe(7);
});

test.each([withProgram, withoutShadow])('a class above 15 raises #GP: %o', (machine) => {
  const m = machine(toCr8(5), toCr8(16), pause);
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  expect([m.vcpu[0]!.apic.tpr, m.vcpu[0]!.guest.faulted]).toEqual([0x50, 1]);
});

test('an exit for CR8 comes before the #GP for its value', () => {
  const m = withoutShadow(toCr8(16));
  goTo(m, 'vcpu0', 'vmEntry', 'VM exit');
  expect(m.vcpu[0]!.guest.faulted).toBe(0);
  goOn(m, 'vcpu0');
  expect(m.vcpu[0]!.guest.faulted).toBe(1);
});

test('a write that lowers the TPR lets an interrupt through that waited', () => {
  const m = withoutShadow(toCr8(5), selfIpi, pause, toCr8(0), pause);
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  expect([m.vcpu[0]!.apic.irr.has(0x41), m.vcpu[0]!.guest.delivered_count]).toEqual([true, 0]);
  goOn(m, 'vcpu0');
  expect(m.vcpu[0]!.guest.delivered_count).toBe(1);
});

/** Vector 0x41 waits, behind a TPR of 0x50, and the guest is about to lower that. */
const waiting = (lowered: number): Machine => {
  const m = withProgram(toCr8(5), selfIpi, pause, toCr8(lowered), pause);
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  expect([m.vcpu[0]!.vmcs01.tpr_threshold, m.vcpu[0]!.guest.delivered_count]).toEqual([4, 0]);
  return m;
};

test('exit 43: the write is done, the PPR follows, and EVENT lets the vector in', () => {
  const m = waiting(3);
  goTo(m, 'vcpu0', 'apic_update_ppr', 'recompute');
  const { vmcs01, apic, guest, requests } = m.vcpu[0]!;
  expect([vmcs01.vm_exit_reason, apic.tpr]).toEqual([exitReason.TPR_BELOW_THRESHOLD, 0x30]);
  expect([apic.ppr, m.actor[0]!.pc]).toEqual([0x50, 4]);
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'is any request pending?');
  expect([apic.ppr, requests.has(KVM_REQ.EVENT)]).toEqual([0x30, true]);
  goOn(m, 'vcpu0');
  expect(guest.delivered_count).toBe(1);
});

test('a TPR that stays at the threshold does not exit', () => {
  const m = waiting(4);
  goOn(m, 'vcpu0');
  expect([m.vcpu[0]!.guest.delivered_count, m.vcpu[0]!.apic.tpr]).toEqual([0, 0x40]);
});
