// Posted-interrupt processing against senders, and IPIs that the CPU posts itself.

import { expect, test } from 'vitest';
import { icrVirtualization } from '#sim/hw/ipi_virtualization.ts';
import { raiseVector } from '#sim/hw/physical_interrupts.ts';
import { postedInterruptProcessing } from '#sim/hw/posted_interrupts.ts';
import { hpaOfPiDesc } from '#sim/state/addresses.ts';
import { pfn_to_hpa } from '#sim/state/machine.ts';
import { POSTED_INTR_VECTOR } from '#sim/state/pi_desc.ts';
import { hostVector } from '#sim/state/vcpu.ts';
import { cpuControl, exitReason, tertiaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, byHand, complete, goOn, goTo, smallMachine } from '../small_machine.ts';

/** A guest that runs, with a notification on its way. */
const notified = (...vectors: number[]): Machine => {
  const m = smallMachine();
  const { pi_desc, vmcs01 } = m.vcpu[0]!;
  vmcs01.posted_intr_desc_addr = hpaOfPiDesc(0);
  for (const vector of vectors) pi_desc.pir.set(vector);
  pi_desc.on = true;
  raiseVector(m, 0, POSTED_INTR_VECTOR);
  return m;
};

const processing = (m: Machine) => () => postedInterruptProcessing(m, 0, POSTED_INTR_VECTOR);

test('a notification clears ON, empties PIR into VIRR and raises RVI', () => {
  const m = notified(0x31, 0xec);
  const { apic, pi_desc, vmcs01, guest } = m.vcpu[0]!;
  pi_desc.sn = true;
  complete(m, 'vcpu0', processing(m));
  expect([apic.irr.has(0x31), apic.irr.has(0xec), pi_desc.pir.any()]).toEqual([true, true, false]);
  expect([pi_desc.on, pi_desc.sn, pi_desc.nv]).toEqual([false, true, POSTED_INTR_VECTOR]);
  expect([vmcs01.guest_intr_status, guest.virtual_interrupt_pending]).toEqual([0xec, true]);
  expect(m.cpu[0]!.pending.any()).toBe(false);
});

test('RVI stays where nothing, or only lower vectors, were posted', () => {
  const m = notified(0x31);
  m.vcpu[0]!.vmcs01.guest_intr_status = 0x60;
  complete(m, 'vcpu0', processing(m));
  expect(m.vcpu[0]!.vmcs01.guest_intr_status).toBe(0x60);
});

test('a vector posted behind the harvest of its word finds ON clear, so it is notified', () => {
  const m = notified(0x31, 0xec);
  const { apic, pi_desc } = m.vcpu[0]!;
  begin(m, 'vcpu0', processing(m));
  goTo(m, 'vcpu0', 'postedInterruptProcessing', 'take word');
  expect([pi_desc.on, pi_desc.pir.has(0x31)]).toEqual([false, true]);
  goTo(m, 'vcpu0', 'postedInterruptProcessing', 'take word');
  byHand(m, () => {
    pi_desc.pir.set(0x32);
    pi_desc.on = true;
  });
  goOn(m, 'vcpu0');
  expect([apic.irr.has(0x32), apic.irr.has(0xec)]).toEqual([false, true]);
  expect([pi_desc.pir.has(0x32), pi_desc.on]).toEqual([true, true]);
});

test('a descriptor in a page of the guest serves as well as one in vcpu_vmx', () => {
  const m = notified();
  const { vmcs01, apic } = m.vcpu[0]!;
  const frame = m.frame.length - 1;
  vmcs01.posted_intr_desc_addr = pfn_to_hpa(frame) + 0x40;
  m.frame[frame]!.data.setU32(0x44, 1 << 5);
  m.frame[frame]!.data.setU32(0x60, 0b11);
  complete(m, 'vcpu0', processing(m));
  expect([apic.irr.has(37), m.frame[frame]!.data.u32(0x60)]).toEqual([true, 0b10]);
});

/** Two vCPUs with a PID-pointer table; only the second has an entry. */
const withTable = (): Machine => {
  const m = smallMachine({ vcpus: 2 });
  const { vmcs01 } = m.vcpu[0]!;
  const frame = m.frame.length - 1;
  vmcs01.cpu_based_vm_exec_control.set(cpuControl.TERTIARY);
  vmcs01.tertiary_vm_exec_control.set(tertiaryControl.IPI_VIRT);
  vmcs01.pid_pointer_table = pfn_to_hpa(frame);
  vmcs01.last_pid_pointer_index = 1;
  m.frame[frame]!.data.setU32(8, hpaOfPiDesc(1) + 1);
  return m;
};

const send = (m: Machine, icr: number, apicId: number): number =>
  complete(m, 'vcpu0', () => icrVirtualization(m, 0, icr, apicId));

test('an IPI to a vCPU of the table is posted, and notified once', () => {
  const m = withTable();
  const { pi_desc } = m.vcpu[1]!;
  expect([send(m, 0x41, 1), send(m, 0x42, 1)]).toEqual([exitReason.NONE, exitReason.NONE]);
  expect([pi_desc.pir.has(0x41), pi_desc.pir.has(0x42), pi_desc.on]).toEqual([true, true, true]);
  expect([m.cpu[1]!.pending.has(hostVector.POSTED_INTR), m.cpu[1]!.ipis]).toEqual([true, 1]);
});

test('with SN set the vector is posted and nobody is notified', () => {
  const m = withTable();
  m.vcpu[1]!.pi_desc.sn = true;
  send(m, 0x41, 1);
  expect([m.vcpu[1]!.pi_desc.pir.has(0x41), m.vcpu[1]!.pi_desc.on]).toEqual([true, false]);
  expect(m.cpu[1]!.pending.any()).toBe(false);
});

test('all other IPIs go to the hypervisor', () => {
  const m = withTable();
  const logical = 0x841;
  const lowest = 0x141;
  const toAll = 0x8_0041;
  const level = 0x8041;
  for (const icr of [logical, lowest, toAll, level, 0x0f]) {
    expect([icr, send(m, icr, 1)]).toEqual([icr, exitReason.APIC_WRITE]);
  }
  expect([send(m, 0x41, 0), send(m, 0x41, 2)]).toEqual([
    exitReason.APIC_WRITE,
    exitReason.APIC_WRITE,
  ]);
});
