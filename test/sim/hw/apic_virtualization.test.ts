// The TPR behind the APIC-access page: what is virtualized, what exits.

import { expect, test } from 'vitest';
import { isApicAccess } from '#sim/hw/apic_virtualization.ts';
import { accessKinds, guestAccess } from '#sim/hw/guest_access.ts';
import { virtualizePpr } from '#sim/hw/virtual_interrupts.ts';
import { apicAccessGfn } from '#sim/state/addresses.ts';
import { hpa_to_pfn } from '#sim/state/machine.ts';
import { priorityOf } from '#sim/state/priority.ts';
import { cpuControl, exitReason, secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { complete, smallMachine } from '../small_machine.ts';

const TPR = 0xfee0_0080;

const read = (m: Machine): number =>
  complete(m, 'vcpu0', () => guestAccess(m, 0, TPR, accessKinds.read));
const write = (m: Machine, value: number, gpa = TPR): number => {
  m.vcpu[0]!.guest.value = value;
  return complete(m, 'vcpu0', () => guestAccess(m, 0, gpa, accessKinds.write));
};

test('PPR is TPR where its class is the higher, else the class of the vector in service', () => {
  expect(priorityOf(0x35, 0x30)).toBe(0x35);
  expect(priorityOf(0x35, 0x31)).toBe(0x35);
  expect(priorityOf(0x35, 0x41)).toBe(0x40);
  expect(priorityOf(0x00, 0x00)).toBe(0);
  expect(priorityOf(0x0f, 0x80)).toBe(0x80);
});

test('an access is an APIC access where its frame is the one that the VMCS names', () => {
  const m = smallMachine();
  const { vmcs01 } = m.vcpu[0]!;
  const pfn = hpa_to_pfn(vmcs01.apic_access_addr);
  expect([isApicAccess(m, 0, pfn), isApicAccess(m, 0, pfn + 1)]).toEqual([true, false]);
  vmcs01.secondary_vm_exec_control.clear(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  expect(isApicAccess(m, 0, pfn)).toBe(false);
});

test('with APICv a write of the TPR stores its low byte, computes the PPR and goes on', () => {
  const m = smallMachine();
  const { apic, vmcs01 } = m.vcpu[0]!;
  vmcs01.guest_intr_status = 0x5100;
  expect(write(m, 0x1234_5645)).toBe(exitReason.NONE);
  expect([apic.tpr, apic.ppr]).toEqual([0x45, 0x50]);
  expect(write(m, 0x62)).toBe(exitReason.NONE);
  expect([apic.tpr, apic.ppr]).toEqual([0x62, 0x62]);
});

test('a read of the TPR comes from the virtual-APIC page, not from the APIC-access page', () => {
  const m = smallMachine();
  m.vcpu[0]!.apic.tpr = 0x70;
  const frame = m.frame[hpa_to_pfn(m.vcpu[0]!.vmcs01.apic_access_addr)]!;
  frame.data.setU32(0x80, 0xdead_beef);
  expect(read(m)).toBe(exitReason.NONE);
  expect(m.vcpu[0]!.guest.value).toBe(0x70);
  expect(m.vm.spec.raw_apic_accesses).toBe(0);
});

test('without VID a TPR below the threshold exits behind the instruction, with it stored', () => {
  const m = smallMachine();
  const { apic, vmcs01 } = m.vcpu[0]!;
  vmcs01.secondary_vm_exec_control.clear(secondaryControl.VIRTUAL_INTR_DELIVERY);
  vmcs01.tpr_threshold = 4;
  expect(write(m, 0x40)).toBe(exitReason.NONE);
  expect(write(m, 0x3f)).toBe(exitReason.TPR_BELOW_THRESHOLD);
  expect([apic.tpr, apic.ppr]).toEqual([0x3f, 0]);
});

test('without a TPR shadow every access exits, and nothing is stored', () => {
  const m = smallMachine();
  const { apic, vmcs01 } = m.vcpu[0]!;
  vmcs01.cpu_based_vm_exec_control.clear(cpuControl.TPR_SHADOW);
  expect(read(m)).toBe(exitReason.APIC_ACCESS);
  expect(write(m, 0x20)).toBe(exitReason.APIC_ACCESS);
  expect(apic.tpr).toBe(0);
});

test('PPR virtualization writes the page only where the value differs', () => {
  const m = smallMachine();
  m.arena.dropLog();
  virtualizePpr(m, 0);
  expect(m.arena.used).toBe(0);
});

test('a stale translation to another frame makes the guest touch raw memory', () => {
  const m = smallMachine();
  const other = hpa_to_pfn(m.vcpu[0]!.vmcs01.apic_access_addr) + 1;
  const entry = m.cpu[0]!.tlb.find(({ valid }) => valid)!;
  entry.pfn = other;
  m.frame[other]!.data.setU32(0x80, 0xabcd);
  expect(read(m)).toBe(exitReason.NONE);
  expect(m.vcpu[0]!.guest.value).toBe(0xabcd);
  expect(write(m, 0x20)).toBe(exitReason.NONE);
  expect(m.frame[other]!.data.u32(0x80)).toBe(0x20);
  expect(m.vm.spec.raw_apic_accesses).toBe(2);
});

test.each([0xfee0_0c00, 0xfee0_0000])('with base %s the page is memory like any other', (base) => {
  const m = smallMachine();
  m.vcpu[0]!.apic_base = base;
  m.vcpu[0]!.vmcs01.secondary_vm_exec_control.clear(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  expect(write(m, 0x20)).toBe(exitReason.NONE);
  expect([m.vm.spec.raw_apic_accesses, m.vcpu[0]!.apic.tpr]).toEqual([0, 0]);
});

test('a write that hits a freed frame is counted as one', () => {
  const m = smallMachine();
  const other = hpa_to_pfn(m.vcpu[0]!.vmcs01.apic_access_addr) + 1;
  m.cpu[0]!.tlb.find(({ valid }) => valid)!.pfn = other;
  m.frame[other]!.freed = true;
  read(m);
  expect(m.vm.spec.freed_frame_writes).toBe(0);
  write(m, 1);
  expect(m.vm.spec.freed_frame_writes).toBe(1);
});

test('an access without translation and without EPT entry exits with what and where', () => {
  const m = smallMachine({ memoryPages: 2 });
  const gpa = 0x1008;
  expect(write(m, 1, gpa)).toBe(exitReason.EPT_VIOLATION);
  const { vmcs01 } = m.vcpu[0]!;
  expect([vmcs01.guest_physical_address, vmcs01.exit_qualification]).toEqual([gpa, 2]);
});

test('a walk caches what it found', () => {
  const m = smallMachine();
  for (const entry of m.cpu[0]!.tlb) entry.valid = false;
  expect(read(m)).toBe(exitReason.NONE);
  const cached = m.cpu[0]!.tlb.filter(({ valid }) => valid);
  expect(cached.map(({ gfn, ep4ta }) => [gfn, ep4ta])).toEqual([[apicAccessGfn, 0]]);
});
