/** The ways to the registers: the memory window, the x2APIC MSRs, an exit after the write. */
import { APIC_BASE_MSR, APIC_EOI, APIC_ICR, APIC_ICR_BUSY } from '../../state/apicdef.ts';
import { PAGE_SIZE } from '../../state/machine.ts';
import { quirk } from '../../state/vm.ts';
import { kvm, type Machine } from '../../steps.ts';
import { EOPNOTSUPP } from '../errno.ts';
import { kvm_apic_send_ipi } from './ipi.ts';
import { kvm_lapic_get_reg } from './page.ts';
import { apic_x2apic_mode, kvm_apic_hw_enabled } from './priority.ts';
import { kvm_lapic_reg_read, kvm_lapic_reg_write } from './registers.ts';

const file = 'arch/x86/kvm/lapic.c';

/** Bits of the low half of the ICR that x2APIC mode reserves: 31:20, 17:16, 13. */
const X2APIC_ICR_RESERVED_BITS = 0xfff3_2000;

/** @kvm arch/x86/kvm/lapic.c */
const apic_mmio_in_range = (m: Machine, vcpu: number, gpa: number): boolean => {
  const { base_address } = m.vcpu[vcpu]!.apic;
  return gpa >= base_address && gpa < base_address + PAGE_SIZE;
};

/** Has the window no registers behind it, in the current mode? */
const windowIsHole = (m: Machine, vcpu: number): boolean =>
  !kvm_apic_hw_enabled(m, vcpu) || apic_x2apic_mode(m, vcpu);

const allOnes = (length: number): number => (length >= 4 ? 0xffff_ffff : 2 ** (length * 8) - 1);

/**
 * A read that the instruction emulator does, into `guest.value`; −EOPNOTSUPP if the APIC does not
 * answer. What is no register leaves the value as it was.
 */
export const apic_mmio_read = kvm(
  file,
  function* apic_mmio_read(m: Machine, vcpu: number, gpa: number, length: number) {
    const { apic, guest, stat } = m.vcpu[vcpu]!;
    if (!apic_mmio_in_range(m, vcpu, gpa)) return -EOPNOTSUPP;
    stat.emulated_apic_mmio++;
    if (windowIsHole(m, vcpu)) {
      if (m.vm.disabled_quirks.has(quirk.LAPIC_MMIO_HOLE)) return -EOPNOTSUPP;
      guest.value = allOnes(length);
      if (length > 4) guest.value_high = 0xffff_ffff;
      return 0;
    }
    yield* kvm_lapic_reg_read(m, vcpu, gpa - apic.base_address, length);
    return 0;
  },
);

/** The same for a write; one that is not of 4 aligned bytes has no effect. */
export const apic_mmio_write = kvm(
  file,
  function* apic_mmio_write(m: Machine, vcpu: number, gpa: number, length: number, value: number) {
    const { apic, stat } = m.vcpu[vcpu]!;
    if (!apic_mmio_in_range(m, vcpu, gpa)) return -EOPNOTSUPP;
    stat.emulated_apic_mmio++;
    if (windowIsHole(m, vcpu)) {
      return m.vm.disabled_quirks.has(quirk.LAPIC_MMIO_HOLE) ? -EOPNOTSUPP : 0;
    }
    const offset = gpa - apic.base_address;
    if (length !== 4 || (offset & 0xf) !== 0) return 0;
    yield* kvm_lapic_reg_write(m, vcpu, offset & 0xff0, value);
    return 0;
  },
);

/** An EOI whose offset the exit told; nothing is decoded. */
export const kvm_lapic_set_eoi = kvm(file, function* kvm_lapic_set_eoi(m: Machine, vcpu: number) {
  yield* kvm_lapic_reg_write(m, vcpu, APIC_EOI, 0);
});

/** The ICR of x2APIC mode is one register of 64 bits. 1 for reserved bits. */
const kvm_x2apic_icr_write = kvm(
  file,
  function* kvm_x2apic_icr_write(m: Machine, vcpu: number, low: number, high: number) {
    if ((low & X2APIC_ICR_RESERVED_BITS) !== 0) return 1;
    const { apic } = m.vcpu[vcpu]!;
    const command = (low & ~APIC_ICR_BUSY) >>> 0;
    yield* kvm_apic_send_ipi(m, vcpu, command, high);
    yield m.step('write the 64-bit ICR: {low}, {high}', command, high);
    apic.icr = command;
    apic.icr_high = high;
    return 0;
  },
);

/** RDMSR of 0x800 to 0x8ff, into `guest.value` and `guest.value_high`; 1 for #GP. */
export const kvm_x2apic_msr_read = kvm(
  file,
  function* kvm_x2apic_msr_read(m: Machine, vcpu: number, msr: number) {
    if (!apic_x2apic_mode(m, vcpu)) return 1;
    const offset = (msr - APIC_BASE_MSR) << 4;
    if (offset !== APIC_ICR) {
      const outcome: number = yield* kvm_lapic_reg_read(m, vcpu, offset, 4);
      return outcome;
    }
    const { apic, guest } = m.vcpu[vcpu]!;
    yield m.step('read the 64-bit ICR');
    guest.value = apic.icr;
    guest.value_high = apic.icr_high;
    return 0;
  },
);

/** WRMSR of 0x800 to 0x8ff; 1 for #GP. */
export const kvm_x2apic_msr_write = kvm(
  file,
  function* kvm_x2apic_msr_write(m: Machine, vcpu: number, msr: number, low: number, high: number) {
    if (!apic_x2apic_mode(m, vcpu)) return 1;
    const offset = (msr - APIC_BASE_MSR) << 4;
    if (offset !== APIC_ICR && high !== 0) return 1;
    const outcome: number =
      offset === APIC_ICR
        ? yield* kvm_x2apic_icr_write(m, vcpu, low, high)
        : yield* kvm_lapic_reg_write(m, vcpu, offset, low);
    return outcome;
  },
);

/** What a write means that the CPU has put into the register page already. */
export const kvm_apic_write_nodecode = kvm(
  file,
  function* kvm_apic_write_nodecode(m: Machine, vcpu: number, offset: number) {
    const { apic } = m.vcpu[vcpu]!;
    yield m.step('read what was written at {offset}', offset);
    if (apic_x2apic_mode(m, vcpu) && offset === APIC_ICR) {
      yield* kvm_x2apic_icr_write(m, vcpu, apic.icr, apic.icr_high);
    } else {
      yield* kvm_lapic_reg_write(m, vcpu, offset, kvm_lapic_get_reg(m, vcpu, offset));
    }
  },
);
