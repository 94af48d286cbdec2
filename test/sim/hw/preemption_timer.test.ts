// The VMX preemption timer: when it makes the guest exit, and what it comes before.

import { expect, test } from 'vitest';
import { raiseVector } from '#sim/hw/physical_interrupts.ts';
import { vmEntry } from '#sim/hw/vm_entry.ts';
import type { Op, Program } from '#sim/state/program.ts';
import { cpuControl, exitReason, INTR_INFO_VALID, pinControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, byHand, complete, goOn, goTo, isReady, smallMachine } from '../small_machine.ts';

const program = (...ops: Op[]): Program => ops.map((op) => ({ op, operands: [] }));

/** A guest that halts by itself, with a count for the timer. */
const machine = (count: number): Machine => {
  const m = smallMachine();
  const { vmcs01 } = m.vcpu[0]!;
  vmcs01.cpu_based_vm_exec_control.clear(cpuControl.HLT);
  vmcs01.pin_based_vm_exec_control.set(pinControl.PREEMPTION_TIMER);
  vmcs01.vmx_preemption_timer_value = count;
  return m;
};

test('it exits at the first boundary at which 32 cycles have passed for each count', () => {
  const m = machine(3);
  m.vm.now = 40;
  const work = begin(m, 'vcpu0', () => vmEntry(m, 0, program('pause', 'pause', 'vmcall')));
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  // The TSC changes the counting bit at 64, 96 and 128.
  byHand(m, () => {
    m.vm.now = 127;
  });
  goTo(m, 'vcpu0', 'guestInstruction', 'PAUSE');
  byHand(m, () => {
    m.vm.now = 128;
  });
  goOn(m, 'vcpu0');
  expect([work.result, m.actor[0]!.pc]).toEqual([exitReason.PREEMPTION_TIMER, 2]);
});

test('a count of 0 exits before the first instruction, behind the injected event', () => {
  const m = machine(0);
  const { vmcs01, guest } = m.vcpu[0]!;
  guest.rflags_if = true;
  vmcs01.vm_entry_intr_info = INTR_INFO_VALID + 0x51;
  const reason = complete(m, 'vcpu0', () => vmEntry(m, 0, program('vmcall', 'handler', 'iret')));
  expect([reason, guest.delivered_count, m.actor[0]!.pc]).toEqual([
    exitReason.PREEMPTION_TIMER,
    1,
    2,
  ]);
});

test('it comes before an open NMI window and before an interrupt of the CPU', () => {
  const m = machine(0);
  m.vcpu[0]!.vmcs01.cpu_based_vm_exec_control.set(cpuControl.NMI_WINDOW);
  raiseVector(m, 0, 0x31);
  const reason = complete(m, 'vcpu0', () => vmEntry(m, 0, program('vmcall')));
  expect([reason, m.cpu[0]!.pending.any()]).toEqual([exitReason.PREEMPTION_TIMER, true]);
});

test('it ends HLT', () => {
  const m = machine(1);
  const work = begin(m, 'vcpu0', () => vmEntry(m, 0, program('hlt')));
  goOn(m, 'vcpu0');
  expect([work.done, isReady(m, 'vcpu0')]).toEqual([false, false]);
  m.vm.now = 32;
  expect(isReady(m, 'vcpu0')).toBe(true);
  goOn(m, 'vcpu0');
  expect(work.result).toBe(exitReason.PREEMPTION_TIMER);
});

test('without the control the count means nothing', () => {
  const m = machine(0);
  m.vcpu[0]!.vmcs01.pin_based_vm_exec_control.clear(pinControl.PREEMPTION_TIMER);
  const reason = complete(m, 'vcpu0', () => vmEntry(m, 0, program('vmcall')));
  expect([reason, m.vcpu[0]!.preemption_timer_expiry]).toEqual([exitReason.VMCALL, 0]);
});
