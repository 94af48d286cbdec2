// Virtual interrupts: recognition, delivery, EOI, self-IPIs, and who else can come between.

import { expect, test } from 'vitest';
import {
  eoiVirtualization,
  evaluatePendingInterrupts,
  selfIpiVirtualization,
  tprVirtualization,
  virtualInterruptDelivery,
} from '#sim/hw/virtual_interrupts.ts';
import { cpuControl, exitReason } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, byHand, complete, goOn, goTo, smallMachine, takeStep } from '../small_machine.ts';

const status = (m: Machine) => {
  const { vmcs01, guest, apic } = m.vcpu[0]!;
  return {
    rvi: vmcs01.guest_intr_status & 0xff,
    svi: vmcs01.guest_intr_status >>> 8,
    ppr: apic.ppr,
    pending: guest.virtual_interrupt_pending,
  };
};

/** A vCPU with vectors requested, as the hypervisor leaves it before an entry. */
const requesting = (...vectors: number[]): Machine => {
  const m = smallMachine();
  const { vmcs01, apic } = m.vcpu[0]!;
  for (const vector of vectors) apic.irr.set(vector);
  vmcs01.guest_intr_status = Math.max(...vectors, 0);
  return m;
};

test('a vector is recognized if its class is above that of the PPR and no window is open', () => {
  const m = requesting(0x45);
  const { apic, vmcs01 } = m.vcpu[0]!;
  evaluatePendingInterrupts(m, 0);
  expect(status(m).pending).toBe(true);
  apic.ppr = 0x40;
  evaluatePendingInterrupts(m, 0);
  expect(status(m).pending).toBe(false);
  apic.ppr = 0;
  vmcs01.cpu_based_vm_exec_control.set(cpuControl.INTR_WINDOW);
  evaluatePendingInterrupts(m, 0);
  expect(status(m).pending).toBe(false);
});

test('delivery moves the vector from VIRR to VISR, and the next one becomes RVI', () => {
  const m = requesting(0x45, 0x31);
  complete(m, 'vcpu0', () => virtualInterruptDelivery(m, 0, []));
  const { apic, guest } = m.vcpu[0]!;
  expect(status(m)).toEqual({ rvi: 0x31, svi: 0x45, ppr: 0x40, pending: false });
  expect([apic.isr.highest(), apic.irr.highest(), apic.irr.count()]).toEqual([0x45, 0x31, 1]);
  expect([guest.delivered_count, guest.delivered[0]!.vector, guest.rflags_if]).toEqual([
    1,
    0x45,
    false,
  ]);
});

test('a vector that is requested again while it is delivered is not lost', () => {
  const m = requesting(0x45);
  begin(m, 'vcpu0', () => virtualInterruptDelivery(m, 0, []));
  goTo(m, 'vcpu0', 'virtualInterruptDelivery', 'RVI = the highest');
  byHand(m, () => {
    m.vcpu[0]!.apic.irr.set(0x45);
  });
  goOn(m, 'vcpu0');
  expect(status(m).rvi).toBe(0x45);
});

test('EOI ends the highest vector in service; a vector in the EOI-exit bitmap exits', () => {
  const m = requesting(0);
  const { apic, vmcs01 } = m.vcpu[0]!;
  for (const vector of [0x31, 0x85]) apic.isr.set(vector);
  vmcs01.guest_intr_status = 0x8500;
  vmcs01.eoi_exit_bitmap0.set(0x31);
  expect(complete(m, 'vcpu0', () => eoiVirtualization(m, 0))).toBe(exitReason.NONE);
  expect(status(m)).toEqual({ rvi: 0, svi: 0x31, ppr: 0x30, pending: false });
  expect(complete(m, 'vcpu0', () => eoiVirtualization(m, 0))).toBe(exitReason.EOI_INDUCED);
  expect([vmcs01.exit_qualification, apic.isr.any()]).toEqual([0x31, false]);
});

test('a self-IPI raises RVI, never lowers it', () => {
  const m = requesting(0x45);
  complete(m, 'vcpu0', () => selfIpiVirtualization(m, 0, 0x31));
  expect(status(m)).toMatchObject({ rvi: 0x45, pending: true });
  complete(m, 'vcpu0', () => selfIpiVirtualization(m, 0, 0x77));
  expect(status(m).rvi).toBe(0x77);
});

test('a lower TPR makes the CPU recognize what it held back', () => {
  const m = requesting(0x45);
  m.vcpu[0]!.apic.tpr = 0x50;
  complete(m, 'vcpu0', () => tprVirtualization(m, 0));
  expect(status(m)).toMatchObject({ ppr: 0x50, pending: false });
  m.vcpu[0]!.apic.tpr = 0x30;
  complete(m, 'vcpu0', () => tprVirtualization(m, 0));
  expect(status(m)).toMatchObject({ ppr: 0x30, pending: true });
});

test('each change of a word of the virtual-APIC page is a step of its own', () => {
  const m = requesting(0x45);
  begin(m, 'vcpu0', () => virtualInterruptDelivery(m, 0, []));
  goTo(m, 'vcpu0', 'virtualInterruptDelivery', 'VPPR');
  const { apic } = m.vcpu[0]!;
  expect([apic.isr.has(0x45), apic.irr.has(0x45), apic.ppr]).toEqual([true, true, 0]);
  takeStep(m, 'vcpu0');
  expect([apic.irr.has(0x45), apic.ppr]).toEqual([true, 0x40]);
});
