// System-management mode: what an SMI interrupts, what waits for RSM, what comes first.

import { expect, test } from 'vitest';
import { kvm_check_and_inject_events } from '#sim/kvm/inject.ts';
import { kvm_apic_accept_events } from '#sim/kvm/lapic/events.ts';
import { emulator_leave_smm, enter_smm, process_smi } from '#sim/kvm/smm.ts';
import {
  kvm_vcpu_ioctl_x86_get_vcpu_events,
  kvm_vcpu_ioctl_x86_set_vcpu_events,
} from '#sim/kvm/vcpu_state.ts';
import { apicEvent } from '#sim/state/lapic.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { loadedVmcs, mpState } from '#sim/state/vcpu.ts';
import { activityState, INTR_INFO_VALID, interruptibility } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, goOn, smallMachine } from '../small_machine.ts';
import { l2Machine } from './l2_machine.ts';
import { does, machineWith } from './lapic_machine.ts';

const { NMI, STI } = interruptibility;
const blocking = (m: Machine): number => m.vcpu[0]!.vmcs01.guest_interruptibility;

const inGuest = (m: Machine, change: (vcpu: Machine['vcpu'][number]) => void): void =>
  byHand(m, () => change(m.vcpu[0]!));

test('in SMM interrupts are off and NMIs masked; RSM puts all back as it was', () => {
  const m = machineWith();
  inGuest(m, ({ guest, vmcs01 }) => {
    guest.rflags_if = true;
    vmcs01.guest_interruptibility = STI;
    vmcs01.guest_activity_state = activityState.HLT;
  });
  const { guest, vmcs01 } = m.vcpu[0]!;
  does(m, enter_smm(m, 0));
  expect([guest.rflags_if, blocking(m), m.vcpu[0]!.in_smm]).toEqual([false, NMI, true]);
  expect(vmcs01.guest_activity_state).toBe(activityState.ACTIVE);
  does(m, emulator_leave_smm(m, 0));
  expect([guest.rflags_if, blocking(m), m.vcpu[0]!.in_smm]).toEqual([true, STI, false]);
});

test('NMIs that were masked before the SMI are masked after it', () => {
  const m = machineWith();
  inGuest(m, ({ vmcs01 }) => {
    vmcs01.guest_interruptibility = NMI;
  });
  does(m, enter_smm(m, 0));
  does(m, emulator_leave_smm(m, 0));
  expect([blocking(m), m.vcpu[0]!.smm_inside_nmi_mask]).toEqual([NMI, false]);
});

test('a second SMI waits for RSM, which makes EVENT', () => {
  const m = machineWith();
  const { requests } = m.vcpu[0]!;
  does(m, process_smi(m, 0));
  does(m, kvm_check_and_inject_events(m, 0));
  does(m, process_smi(m, 0));
  expect(does(m, kvm_check_and_inject_events(m, 0))).toBe(0);
  expect([m.vcpu[0]!.guest.smis, m.vcpu[0]!.smi_pending]).toEqual([1, true]);
  byHand(m, () => requests.clearAll());
  does(m, emulator_leave_smm(m, 0));
  expect(requests.has(KVM_REQ.EVENT)).toBe(true);
  does(m, kvm_check_and_inject_events(m, 0));
  expect(m.vcpu[0]!.guest.smis).toBe(2);
});

test('an SMI comes before an NMI and an interrupt, which wait for the entry behind it', () => {
  const m = machineWith();
  inGuest(m, (vcpu) => {
    vcpu.smi_pending = true;
    vcpu.nmi_pending = 1;
    vcpu.guest.rflags_if = true;
    vcpu.apic.irr.set(0x41);
    vcpu.apic.irr_pending = true;
  });
  expect(does(m, kvm_check_and_inject_events(m, 0))).toBe(1);
  const { vmcs01, nmi_pending, in_smm } = m.vcpu[0]!;
  expect([vmcs01.vm_entry_intr_info, nmi_pending, in_smm]).toEqual([0, 1, true]);
});

test('an event that must be injected again comes before an SMI', () => {
  const m = machineWith();
  inGuest(m, (vcpu) => {
    vcpu.smi_pending = true;
    vcpu.interrupt.injected = true;
    vcpu.interrupt.nr = 0x41;
  });
  expect(does(m, kvm_check_and_inject_events(m, 0))).toBe(1);
  expect(m.vcpu[0]!.vmcs01.vm_entry_intr_info).toBe(INTR_INFO_VALID + 0x41);
  expect([m.vcpu[0]!.in_smm, m.vcpu[0]!.smi_pending]).toEqual([false, true]);
});

test('INIT stays pending in SMM, SIPI does not; after RSM the INIT is taken', () => {
  const m = machineWith();
  does(m, enter_smm(m, 0));
  inGuest(m, ({ apic }) => {
    apic.pending_events.set(apicEvent.INIT);
    apic.pending_events.set(apicEvent.SIPI);
  });
  const { pending_events } = m.vcpu[0]!.apic;
  does(m, kvm_apic_accept_events(m, 0));
  expect(pending_events.word(0)).toBe(1 << apicEvent.INIT);
  does(m, emulator_leave_smm(m, 0));
  does(m, kvm_apic_accept_events(m, 0));
  expect([pending_events.any(), m.vcpu[0]!.mp_state]).toEqual([false, mpState.RUNNABLE]);
});

test('the guest goes on where the SMI came, behind what its SMI handler did', () => {
  const program = ['pause', 'smi-handler', 'cli', 'rsm'] as const;
  const m = smallMachine({
    memoryPages: 1,
    programs: { vcpu0: program.map((op) => ({ op, operands: [] })) },
  });
  byHand(m, () => {
    m.vcpu[0]!.smi_pending = true;
    m.vcpu[0]!.guest.rflags_if = true;
    m.vcpu[0]!.requests.set(KVM_REQ.EVENT);
  });
  goOn(m, 'vcpu0');
  const { guest, in_smm, mp_state } = m.vcpu[0]!;
  expect([guest.smis, guest.rflags_if, in_smm, mp_state]).toEqual([1, true, false, mpState.HALTED]);
});

/** L2 has just executed STI behind some instructions; L1 stands behind its VMRESUME. */
const l2BehindSti = (): Machine => {
  const m = l2Machine();
  byHand(m, () => {
    const { nested, vmcs02 } = m.vcpu[0]!;
    nested.l1.pc = 7;
    m.actor[0]!.pc = 3;
    vmcs02.guest_interruptibility = STI;
  });
  return m;
};

test('an SMI leaves L2 and VMX operation; RSM goes back, with the pages still to come', () => {
  const m = l2BehindSti();
  const vcpu = m.vcpu[0]!;
  const { nested, requests } = vcpu;
  const exitReason = nested.cached_vmcs12.vm_exit_reason;
  does(m, enter_smm(m, 0));
  expect([vcpu.guest_mode, vcpu.loaded_vmcs, nested.vmxon]).toEqual([
    false,
    loadedVmcs.VMCS01,
    false,
  ]);
  expect([nested.smm_guest_mode, nested.smm_vmxon]).toEqual([true, true]);
  // L1 learns nothing, and NMIs are masked where L1 runs.
  expect(nested.cached_vmcs12.vm_exit_reason).toBe(exitReason);
  expect([vcpu.vmcs01.guest_interruptibility, vcpu.vmcs02.guest_interruptibility]).toEqual([
    NMI,
    STI,
  ]);
  does(m, emulator_leave_smm(m, 0));
  expect([vcpu.guest_mode, vcpu.loaded_vmcs, nested.vmxon]).toEqual([
    true,
    loadedVmcs.VMCS02,
    true,
  ]);
  expect([nested.nested_run_pending, nested.smm_guest_mode]).toEqual([true, false]);
  expect(requests.has(KVM_REQ.GET_NESTED_STATE_PAGES)).toBe(true);
  expect([m.actor[0]!.pc, nested.l1.pc, vcpu.guest.rflags_if]).toEqual([3, 7, true]);
  expect(vcpu.vmcs01.guest_interruptibility).toBe(0);
  expect(vcpu.vmcs02.guest_interruptibility).toBe(STI);
});

test('what user space saves of events is that of the guest that runs', () => {
  const m = l2BehindSti();
  const events = does(m, kvm_vcpu_ioctl_x86_get_vcpu_events(m, 0));
  expect(events.interrupt.shadow).toBe(STI);
  byHand(m, () => {
    m.vcpu[0]!.vmcs02.guest_interruptibility = 0;
  });
  expect(does(m, kvm_vcpu_ioctl_x86_set_vcpu_events(m, 0, events))).toBe(0);
  expect(m.vcpu[0]!.vmcs02.guest_interruptibility).toBe(STI);
  expect(m.vcpu[0]!.guest_mode).toBe(true);
});

test('a vCPU that user space puts into SMM is out of VMX operation', () => {
  const m = l2BehindSti();
  const events = does(m, kvm_vcpu_ioctl_x86_get_vcpu_events(m, 0));
  const inSmm = { ...events, smi: { ...events.smi, smm: true } };
  expect(does(m, kvm_vcpu_ioctl_x86_set_vcpu_events(m, 0, inSmm))).toBe(0);
  const { guest_mode, nested, in_smm } = m.vcpu[0]!;
  expect([guest_mode, nested.vmxon, in_smm]).toEqual([false, false, true]);
});
