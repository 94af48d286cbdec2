import { expect, test } from 'vitest';
import { EOPNOTSUPP } from '#sim/kvm/errno.ts';
import {
  apic_mmio_read,
  apic_mmio_write,
  kvm_apic_write_nodecode,
  kvm_x2apic_msr_read,
  kvm_x2apic_msr_write,
} from '#sim/kvm/lapic/access.ts';
import { kvm_lapic_reg_write } from '#sim/kvm/lapic/registers.ts';
import * as reg from '#sim/state/apicdef.ts';
import { quirk } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { does, machineWith } from './lapic_machine.ts';

const window = 0xfee0_0000;
const write = (m: Machine, offset: number, value: number, length = 4): number =>
  does(m, apic_mmio_write(m, 0, window + offset, length, value));
const read = (m: Machine, offset: number, length = 4): number => {
  does(m, apic_mmio_read(m, 0, window + offset, length));
  return m.vcpu[0]!.guest.value;
};

test('a read of one or two bytes gives that part of the register', () => {
  const m = machineWith();
  write(m, reg.APIC_LDR, 0x8900_0000);
  expect(read(m, reg.APIC_LDR)).toBe(0x8900_0000);
  expect(read(m, reg.APIC_LDR + 3, 1)).toBe(0x89);
  expect(read(m, reg.APIC_LDR + 2, 2)).toBe(0x8900);
});

test('the window ignores writes that are not of four aligned bytes', () => {
  const m = machineWith();
  expect(write(m, reg.APIC_TASKPRI, 0x50, 1)).toBe(0);
  expect(write(m, reg.APIC_TASKPRI + 4, 0x50)).toBe(0);
  expect(m.vcpu[0]!.apic.tpr).toBe(0);
});

test('a disabled APIC reads as ones, or not at all where the quirk is off', () => {
  const m = machineWith({ apics: [{ mode: 'disabled' }] });
  expect(read(m, reg.APIC_LVR)).toBe(0xffff_ffff);
  m.vm.disabled_quirks.set(quirk.LAPIC_MMIO_HOLE);
  expect(does(m, apic_mmio_read(m, 0, window, 4))).toBe(-EOPNOTSUPP);
  expect(write(m, reg.APIC_TASKPRI, 0x50)).toBe(-EOPNOTSUPP);
});

test('registers that hold state of the hardware cannot be written', () => {
  const m = machineWith();
  const outcomes = [reg.APIC_LVR, reg.APIC_PROCPRI, reg.APIC_ISR, reg.APIC_TMCCT, 0x010].map(
    (offset) => does(m, kvm_lapic_reg_write(m, 0, offset, 1)),
  );
  expect(outcomes).toEqual([1, 1, 1, 1, 1]);
});

test('without CMCI its entry of the vector table does not exist', () => {
  const m = machineWith({ apics: [{ mode: 'x2apic', lvtCmci: false }] });
  expect(does(m, kvm_x2apic_msr_read(m, 0, 0x82f))).toBe(1);
  expect(does(m, kvm_x2apic_msr_write(m, 0, 0x82f, 0xf0, 0))).toBe(1);
});

test('disabling the APIC by SPIV masks every entry and drops an expiry of the timer', () => {
  const m = machineWith();
  const { apic } = m.vcpu[0]!;
  write(m, reg.APIC_LVTT, 0x40);
  apic.lapic_timer.pending = 1;
  write(m, reg.APIC_SPIV, 0xff);
  expect([apic.lvtt, apic.lvt0, apic.lapic_timer.pending]).toEqual([0x1_0040, 0x1_0700, 0]);
  write(m, reg.APIC_LVT1, 0x41);
  expect(apic.lvt1).toBe(0x1_0041);
});

test('LVT0 in NMI mode is counted once for each APIC', () => {
  const m = machineWith();
  write(m, reg.APIC_LVT0, 0x400);
  write(m, reg.APIC_LVT0, 0x401);
  expect(m.vm.vapics_in_nmi_mode).toBe(1);
  write(m, reg.APIC_LVT0, 0x1_0400);
  expect(m.vm.vapics_in_nmi_mode).toBe(0);
});

test('the ICR of x2APIC mode is one register, and refuses reserved bits', () => {
  const m = machineWith({ apics: [{ mode: 'x2apic' }] });
  const { apic, guest } = m.vcpu[0]!;
  expect(does(m, kvm_x2apic_msr_write(m, 0, 0x830, 0x1000 | 0x41, 0x77))).toBe(0);
  expect([apic.icr, apic.icr_high]).toEqual([0x41, 0x77]);
  does(m, kvm_x2apic_msr_read(m, 0, 0x830));
  expect([guest.value, guest.value_high]).toEqual([0x41, 0x77]);
  expect(does(m, kvm_x2apic_msr_write(m, 0, 0x830, 0x2041, 0))).toBe(1);
});

test('all other x2APIC registers have 32 bits', () => {
  const m = machineWith({ apics: [{ mode: 'x2apic' }] });
  expect(does(m, kvm_x2apic_msr_write(m, 0, 0x808, 0x20, 1))).toBe(1);
  expect(does(m, kvm_x2apic_msr_write(m, 0, 0x808, 0x20, 0))).toBe(0);
  expect(m.vcpu[0]!.apic.tpr).toBe(0x20);
});

test('an exit after the write acts on what the CPU put into the page', () => {
  const m = machineWith({ enableApicv: true });
  const { apic } = m.vcpu[0]!;
  apic.spiv = 0xff;
  does(m, kvm_apic_write_nodecode(m, 0, reg.APIC_SPIV));
  expect([apic.sw_enabled, apic.lvt0]).toEqual([false, 0x1_0700]);
});
