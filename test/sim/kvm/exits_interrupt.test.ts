// Exits for interrupts of the host, and exits that KVM forces on itself.

import { expect, test } from 'vitest';
import { hostVector } from '#sim/state/vcpu.ts';
import { INTR_INFO_VALID } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { runText, scenarioText } from '../scenario_run.ts';
import { byHand, goTo, isReady, smallMachine } from '../small_machine.ts';

/** The guest runs, and an interrupt arrives at its CPU; it stands before the handler. */
const exitFor = (bit: number): Machine => {
  const m = smallMachine({ programs: { vcpu0: [{ op: 'pause', operands: [] }] } });
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  byHand(m, () => {
    m.cpu[0]!.pending.set(bit);
    m.cpu[0]!.call_queue.set(3);
  });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'run the handler');
  return m;
};

test('the exit leaves the vector in the VMCS and nothing in the APIC; KVM runs the handler', () => {
  const m = exitFor(hostVector.CALL_FUNCTION);
  const { vmcs01 } = m.vcpu[0]!;
  expect(vmcs01.vm_exit_intr_info).toBe(INTR_INFO_VALID + 0xfc);
  expect([m.cpu[0]!.pending.any(), m.cpu[0]!.call_queue.has(3)]).toEqual([false, true]);
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts on');
  expect([vmcs01.vm_exit_intr_info, m.cpu[0]!.call_queue.any()]).toEqual([0, false]);
});

test('only the handler of the acknowledged vector is run', () => {
  const m = exitFor(hostVector.RESCHEDULE);
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts on');
  expect(m.cpu[0]!.call_queue.has(3)).toBe(true);
});

test('the handler of the wake-up vector takes steps: the interrupt context runs it', () => {
  const m = exitFor(hostVector.POSTED_INTR_WAKEUP);
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts on');
  expect([isReady(m, 'irq0'), m.vcpu[0]!.vmcs01.vm_exit_intr_info]).toEqual([false, 0]);
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'srcu_read_lock');
  expect(isReady(m, 'irq0')).toBe(true);
});

test.each([
  ['by the preemption timer', 'preemption-timer on', 1],
  ['without one by an IPI to itself', 'preemption-timer off', 2],
])('a vCPU with two events leaves the guest at once, %s', (_, key, ipis) => {
  const text = scenarioText('apic-immediate-exit').replace('preemption-timer on', key);
  const { machine, steps, findings } = runText(text);
  const labels = steps().map(({ label }) => label);
  const second = labels.lastIndexOf('VMWRITE VM_ENTRY_INTR_INFO: interrupt {vector}');
  const nmi = labels.indexOf('VMWRITE VM_ENTRY_INTR_INFO: NMI');
  const between = labels.slice(second, nmi);
  expect(between.filter((label) => label === 'VM entry')).toHaveLength(1);
  expect(between).not.toContain('PAUSE');
  expect([machine.cpu[0]!.ipis, findings]).toEqual([ipis, []]);
});
