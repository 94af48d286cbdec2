// VM entry and the guest behind it: checks, injection, what comes first at a boundary, HLT.

import { expect, test } from 'vitest';
import { raiseVector } from '#sim/hw/physical_interrupts.ts';
import { vmEntry } from '#sim/hw/vm_entry.ts';
import { hpaOfPiDesc } from '#sim/state/addresses.ts';
import { POSTED_INTR_VECTOR, POSTED_INTR_WAKEUP_VECTOR } from '#sim/state/pi_desc.ts';
import type { Instruction, Op, Program } from '#sim/state/program.ts';
import {
  cpuControl,
  exitControl,
  exitReason,
  INTR_INFO_VALID,
  interruptibility,
  pinControl,
  secondaryControl,
  vmInstructionError,
} from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  goOn,
  isReady,
  smallMachine,
  standsBefore,
} from '../small_machine.ts';

const does = (op: Op, ...operands: number[]): Instruction => ({ op, operands });

/** A machine whose guest halts by itself and takes notifications. */
const machine = (): Machine => {
  const m = smallMachine();
  const { vmcs01 } = m.vcpu[0]!;
  vmcs01.posted_intr_desc_addr = hpaOfPiDesc(0);
  vmcs01.cpu_based_vm_exec_control.clear(cpuControl.HLT);
  return m;
};

const enter = (m: Machine, program: Program): number => {
  m.actor[0]!.pc = 0;
  return complete(m, 'vcpu0', () => vmEntry(m, 0, program));
};

const deliveredTo = (m: Machine): number[] => {
  const { guest } = m.vcpu[0]!;
  return guest.delivered.slice(0, guest.delivered_count).map(({ vector }) => vector);
};

const request = (m: Machine, vector: number): void => {
  m.vcpu[0]!.apic.irr.set(vector);
  m.vcpu[0]!.vmcs01.guest_intr_status |= vector;
};

test('a control that breaks a rule fails the entry: error 7, and the guest never ran', () => {
  const m = machine();
  const { vmcs01, stat, non_root } = m.vcpu[0]!;
  vmcs01.posted_intr_nv = 0x1f2;
  expect(enter(m, [does('vmcall')])).toBe(exitReason.VMFAIL);
  expect([m.cpu[0]!.rflags_zf, vmcs01.vm_instruction_error]).toEqual([
    true,
    vmInstructionError.INVALID_CONTROL_FIELD,
  ]);
  expect([stat.vm_entries, non_root]).toEqual([0, false]);
  vmcs01.posted_intr_nv = POSTED_INTR_VECTOR;
  expect(enter(m, [does('vmcall')])).toBe(exitReason.VMCALL);
  expect(m.cpu[0]!.rflags_zf).toBe(false);
});

test('posted interrupts without acknowledge-on-exit fail the entry', () => {
  const m = machine();
  const { vmcs01 } = m.vcpu[0]!;
  vmcs01.vm_exit_controls.clear(exitControl.ACK_INTR_ON_EXIT);
  expect(enter(m, [does('vmcall')])).toBe(exitReason.VMFAIL);
  vmcs01.pin_based_vm_exec_control.clear(pinControl.POSTED_INTR);
  expect(enter(m, [does('vmcall')])).toBe(exitReason.VMCALL);
});

test('without VID a VTPR below the threshold exits before the first instruction', () => {
  const m = machine();
  const { vmcs01 } = m.vcpu[0]!;
  vmcs01.secondary_vm_exec_control.clear(secondaryControl.VIRTUAL_INTR_DELIVERY);
  vmcs01.pin_based_vm_exec_control.clear(pinControl.POSTED_INTR);
  vmcs01.tpr_threshold = 2;
  expect(enter(m, [does('vmcall')])).toBe(exitReason.TPR_BELOW_THRESHOLD);
  expect(m.actor[0]!.pc).toBe(0);
});

test('an injected interrupt runs the handler, which ends it and returns', () => {
  const m = machine();
  const { vmcs01, guest, apic } = m.vcpu[0]!;
  guest.rflags_if = true;
  apic.isr.set(0x51);
  vmcs01.guest_intr_status = 0x5100;
  vmcs01.vm_entry_intr_info = INTR_INFO_VALID + 0x51;
  expect(enter(m, [does('vmcall')])).toBe(exitReason.VMCALL);
  expect([deliveredTo(m), apic.isr.any(), guest.rflags_if]).toEqual([[0x51], false, true]);
  expect(vmcs01.vm_entry_intr_info).toBe(0x51);
});

test('an external interrupt cannot be injected into a guest that has interrupts off', () => {
  const m = machine();
  m.vcpu[0]!.vmcs01.vm_entry_intr_info = INTR_INFO_VALID + 0x51;
  expect(enter(m, [does('vmcall')])).toBe(exitReason.INVALID_GUEST_STATE);
  expect(m.vcpu[0]!.non_root).toBe(false);
});

test('what was requested before the entry is delivered when the guest allows it', () => {
  const m = machine();
  request(m, 0x45);
  expect(enter(m, [does('pause'), does('vmcall')])).toBe(exitReason.VMCALL);
  expect(deliveredTo(m)).toEqual([]);
  expect(enter(m, [does('sti'), does('pause'), does('vmcall')])).toBe(exitReason.VMCALL);
  expect(deliveredTo(m)).toEqual([0x45]);
});

test('STI holds interrupts back for one instruction', () => {
  const m = machine();
  request(m, 0x45);
  expect(enter(m, [does('sti'), does('vmcall')])).toBe(exitReason.VMCALL);
  expect(deliveredTo(m)).toEqual([]);
});

test('a guest that halts with interrupts on is woken by a posted interrupt, with no exit', () => {
  const m = machine();
  const { pi_desc, stat } = m.vcpu[0]!;
  const work = begin(m, 'vcpu0', () => vmEntry(m, 0, [does('sti'), does('hlt'), does('vmcall')]));
  goOn(m, 'vcpu0');
  expect(standsBefore(m, 'vcpu0')).toBe('vmEntry "halted until an interrupt arrives"');
  byHand(m, () => {
    pi_desc.pir.set(0x61);
    pi_desc.on = true;
    raiseVector(m, 0, POSTED_INTR_VECTOR);
  });
  expect(isReady(m, 'vcpu0')).toBe(true);
  goOn(m, 'vcpu0');
  expect([work.result, deliveredTo(m), stat.vm_exits]).toEqual([exitReason.VMCALL, [0x61], 1]);
});

test('without acknowledge-on-exit another vector than the notification stays pending', () => {
  const m = machine();
  const { pin_based_vm_exec_control: pin, vm_exit_controls } = m.vcpu[0]!.vmcs01;
  // Posted interrupts need the control.
  pin.clear(pinControl.POSTED_INTR);
  vm_exit_controls.clear(exitControl.ACK_INTR_ON_EXIT);
  raiseVector(m, 0, POSTED_INTR_WAKEUP_VECTOR);
  expect(enter(m, [does('vmcall')])).toBe(exitReason.EXTERNAL_INTERRUPT);
  expect([m.cpu[0]!.pending.any(), m.vcpu[0]!.vmcs01.vm_exit_intr_info]).toEqual([true, 0]);
});

test('with acknowledge-on-exit the vector is handed over, the highest first', () => {
  const m = machine();
  const { vmcs01 } = m.vcpu[0]!;
  raiseVector(m, 0, 0x31);
  raiseVector(m, 0, 0xe5);
  expect(enter(m, [does('vmcall')])).toBe(exitReason.EXTERNAL_INTERRUPT);
  expect(vmcs01.vm_exit_intr_info).toBe(INTR_INFO_VALID + 0xe5);
  expect(enter(m, [does('vmcall')])).toBe(exitReason.EXTERNAL_INTERRUPT);
  expect([vmcs01.vm_exit_intr_info, m.cpu[0]!.pending.any()]).toEqual([
    INTR_INFO_VALID + 0x31,
    false,
  ]);
});

test('an open interrupt window exits, and comes before the interrupt itself', () => {
  const m = machine();
  const { vmcs01, guest } = m.vcpu[0]!;
  request(m, 0x45);
  vmcs01.cpu_based_vm_exec_control.set(cpuControl.INTR_WINDOW);
  expect(enter(m, [does('vmcall')])).toBe(exitReason.VMCALL);
  guest.rflags_if = true;
  vmcs01.guest_interruptibility = interruptibility.STI;
  expect(enter(m, [does('pause'), does('vmcall')])).toBe(exitReason.INTERRUPT_WINDOW);
  expect([m.actor[0]!.pc, deliveredTo(m)]).toEqual([1, []]);
});

test('a handler of the program is entered with interrupts off and returns to where it was', () => {
  const m = machine();
  const { guest } = m.vcpu[0]!;
  guest.rflags_if = true;
  request(m, 0x45);
  const program = [
    does('pause'),
    does('vmcall'),
    does('handler'),
    does('mov-to-cr8', 3),
    does('eoi'),
    does('iret'),
  ];
  expect(enter(m, program)).toBe(exitReason.VMCALL);
  const { apic } = m.vcpu[0]!;
  expect([deliveredTo(m), apic.tpr, m.actor[0]!.pc]).toEqual([[0x45], 0x30, 1]);
});

test('MSRs: what the bitmap intercepts exits, a reserved bit faults, the rest is virtual', () => {
  const m = machine();
  const { vmcs01, msr_bitmap, guest, apic } = m.vcpu[0]!;
  vmcs01.secondary_vm_exec_control.clear(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  vmcs01.secondary_vm_exec_control.set(secondaryControl.VIRTUALIZE_X2APIC_MODE);
  msr_bitmap.x2apic_read.clearAll();
  msr_bitmap.x2apic_write.clearAll();
  msr_bitmap.x2apic_write.set(0x30);
  expect(enter(m, [does('wrmsr64', 0x830, 0x41, 1)])).toBe(exitReason.WRMSR);
  expect(enter(m, [does('rdmsr', 0x1b)])).toBe(exitReason.RDMSR);
  expect(enter(m, [does('wrmsr', 0x808, 0x100), does('vmcall')])).toBe(exitReason.VMCALL);
  expect([guest.faulted, apic.tpr]).toEqual([1, 0]);
  const program = [does('wrmsr', 0x808, 0x35), does('mov-from-cr8'), does('vmcall')];
  expect(enter(m, program)).toBe(exitReason.VMCALL);
  expect([guest.value, apic.tpr, m.vm.spec.host_apic_accesses]).toEqual([3, 0x35, 0]);
  expect(enter(m, [does('wrmsr', 0x80d, 1), does('vmcall')])).toBe(exitReason.VMCALL);
  expect(m.vm.spec.host_apic_accesses).toBe(1);
});
