/** Words of the register page by their offset, for code that has the offset from elsewhere. */
import { APIC_LVTCMCI, APIC_LVTT } from '../../state/apicdef.ts';
import { baseOf, type Machine } from '../../steps.ts';

/** @kvm arch/x86/kvm/lapic.h: kvm_lapic_get_reg */
export const kvm_lapic_get_reg = (m: Machine, vcpu: number, offset: number): number =>
  m.arena.load(baseOf(m.vcpu[vcpu]!.apic) + (offset >>> 2));

/** @kvm arch/x86/kvm/lapic.c: kvm_lapic_set_reg */
export const kvm_lapic_set_reg = (
  m: Machine,
  vcpu: number,
  offset: number,
  value: number,
): void => {
  m.arena.store(baseOf(m.vcpu[vcpu]!.apic) + (offset >>> 2), value >>> 0);
};

/** Entries of the local vector table, in the kernel's order. @kvm arch/x86/kvm/lapic.h */
export const lvt = {
  TIMER: 0,
  THERMAL_MONITOR: 1,
  PERFORMANCE_COUNTER: 2,
  LINT0: 3,
  LINT1: 4,
  ERROR: 5,
  CMCI: 6,
} as const;

/** Offset of an entry of the local vector table. @kvm arch/x86/kvm/lapic.h: APIC_LVTx */
export const lvtOffset = (index: number): number =>
  index === lvt.CMCI ? APIC_LVTCMCI : APIC_LVTT + index * 0x10;
