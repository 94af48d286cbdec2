// Accesses to the APIC-access page: the table of registers, widths, and what follows a write.

import { expect, test } from 'vitest';
import { treatment, treatmentOf } from '#sim/hw/apic_access.ts';
import { accessKinds, duringEventDelivery, guestAccess } from '#sim/hw/guest_access.ts';
import { inveptAllContext } from '#sim/hw/tlb.ts';
import { hpa_to_pfn } from '#sim/state/machine.ts';
import { cpuControl, exitReason, secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { complete, smallMachine } from '../small_machine.ts';

const APIC = 0xfee0_0000;
const { EXIT, SERVE, APIC_WRITE, TPR, EOI, ICR, ICR2 } = treatment;

interface Controls {
  readonly registers: boolean;
  readonly delivery: boolean;
}

const machineWith = ({ registers, delivery }: Controls): Machine => {
  const m = smallMachine();
  const { secondary_vm_exec_control: secondary } = m.vcpu[0]!.vmcs01;
  if (!registers) secondary.clear(secondaryControl.APIC_REGISTER_VIRT);
  if (!delivery) secondary.clear(secondaryControl.VIRTUAL_INTR_DELIVERY);
  return m;
};

const none = machineWith({ registers: false, delivery: false });
const delivery = machineWith({ registers: false, delivery: true });
const registers = machineWith({ registers: true, delivery: false });
const both = machineWith({ registers: true, delivery: true });

/** Treatment of a 4-byte access under each combination, in the order of the manual's text. */
const row = (offset: number, write: boolean, width = 4): number[] =>
  [none, delivery, registers, both].map((m) =>
    treatmentOf(m.vcpu[0]!.vmcs01, offset, width, write),
  );

test('the TPR is virtualized under every combination', () => {
  expect(row(0x80, false)).toEqual([SERVE, SERVE, SERVE, SERVE]);
  expect(row(0x80, true)).toEqual([TPR, TPR, TPR, TPR]);
});

test('EOI and ICR come with interrupt delivery, the others with register virtualization', () => {
  expect(row(0xb0, true)).toEqual([EXIT, EOI, APIC_WRITE, EOI]);
  expect(row(0x300, true)).toEqual([EXIT, ICR, ICR, ICR]);
  expect(row(0x310, true)).toEqual([EXIT, EXIT, ICR2, ICR2]);
  expect(row(0xf0, true)).toEqual([EXIT, EXIT, APIC_WRITE, APIC_WRITE]);
  expect(row(0xb0, false)).toEqual([EXIT, SERVE, SERVE, SERVE]);
  expect(row(0x270, false)).toEqual([EXIT, EXIT, SERVE, SERVE]);
});

test('PPR, APR, the current count and what lies between registers always exit', () => {
  for (const offset of [0x00, 0x90, 0xa0, 0xc0, 0x2f0, 0x390, 0x3f0, 0x400, 0xff0]) {
    expect([offset, row(offset, false), row(offset, true)]).toEqual([
      offset,
      [EXIT, EXIT, EXIT, EXIT],
      [EXIT, EXIT, EXIT, EXIT],
    ]);
  }
});

test('an access lies in the low 4 bytes of a register; without RegV it begins there', () => {
  expect(row(0x80, true, 8)).toEqual([EXIT, EXIT, EXIT, EXIT]);
  expect(row(0x82, false, 4)).toEqual([EXIT, EXIT, EXIT, EXIT]);
  expect(row(0x84, false, 1)).toEqual([EXIT, EXIT, EXIT, EXIT]);
  expect(row(0x82, false, 2)).toEqual([EXIT, EXIT, SERVE, SERVE]);
  expect(row(0x81, true, 1)).toEqual([EXIT, EXIT, APIC_WRITE, APIC_WRITE]);
});

test('a write that the hypervisor has to finish is in the page when the guest exits', () => {
  const m = machineWith({ registers: true, delivery: true });
  const { guest, vmcs01, apic } = m.vcpu[0]!;
  guest.value = 0xabcd_01ff;
  const write = () => guestAccess(m, 0, APIC + 0xf0, accessKinds.write16);
  expect(complete(m, 'vcpu0', write)).toBe(exitReason.APIC_WRITE);
  expect([apic.spiv, vmcs01.exit_qualification]).toEqual([0x1ff, 0xf0]);
});

test('an access that exits says where, what, and whether an event was being delivered', () => {
  const m = machineWith({ registers: false, delivery: false });
  const { vmcs01 } = m.vcpu[0]!;
  const qualificationOf = (kind: typeof accessKinds.read | typeof accessKinds.write): number => {
    complete(m, 'vcpu0', () => guestAccess(m, 0, APIC + 0x320, kind));
    return vmcs01.exit_qualification;
  };
  expect(qualificationOf(accessKinds.read)).toBe(0x0320);
  expect(qualificationOf(accessKinds.write)).toBe(0x1320);
  const pushing = duringEventDelivery(accessKinds.write);
  complete(m, 'vcpu0', () => guestAccess(m, 0, APIC + 0x320, pushing));
  expect(vmcs01.exit_qualification).toBe(0x3320);
});

test('a secondary control counts only where the secondary controls are in use', () => {
  const m = machineWith({ registers: true, delivery: true });
  const { vmcs01 } = m.vcpu[0]!;
  vmcs01.cpu_based_vm_exec_control.clear(cpuControl.SECONDARY);
  expect(treatmentOf(vmcs01, 0x20, 4, false)).toBe(EXIT);
  const pfn = hpa_to_pfn(vmcs01.apic_access_addr);
  m.frame[pfn]!.data.setU32(0x20, 0x1234);
  complete(m, 'vcpu0', () => guestAccess(m, 0, APIC + 0x20, accessKinds.read));
  // The bytes of the page are what the guest is to have then: that is no finding.
  expect([m.vcpu[0]!.guest.value, m.vm.spec.raw_apic_accesses]).toEqual([0x1234, 0]);
});

test('a translation cached while the control was off is no APIC access once it is on', () => {
  const m = machineWith({ registers: true, delivery: true });
  const { vmcs01 } = m.vcpu[0]!;
  const { secondary_vm_exec_control: secondary } = vmcs01;
  const read = () => complete(m, 'vcpu0', () => guestAccess(m, 0, APIC + 0x20, accessKinds.read));
  inveptAllContext(m, 0);
  secondary.clear(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  read();
  secondary.set(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  read();
  expect(m.vm.spec.raw_apic_accesses).toBe(1);
  inveptAllContext(m, 0);
  read();
  expect(m.vm.spec.raw_apic_accesses).toBe(1);
});
