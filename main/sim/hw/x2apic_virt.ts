/** RDMSR and WRMSR of the x2APIC registers: served from the virtual-APIC page, or exits. */
import {
  APIC_BASE_MSR,
  APIC_EOI,
  APIC_ICR,
  APIC_SELF_IPI,
  APIC_TASKPRI,
} from '../state/apicdef.ts';
import { loadedVmcs } from '../state/vcpu.ts';
import { cpuControl, exitReason, secondaryControl } from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { readVirtualApic, writeVirtualApic } from './apic_virtualization.ts';
import {
  icrVirtualization,
  ipivChecksReservedBits,
  ipivOn,
  reservedBitsOfIcr,
} from './ipi_virtualization.ts';
import {
  eoiVirtualization,
  selfIpiVirtualization,
  tprVirtualization,
} from './virtual_interrupts.ts';
import { currentVmcs, exitFor, primaryOn, secondaryOn } from './vmcs.ts';

/** MSRs that the x2APIC architecture has set aside, implemented or not. */
const x2apicMsrs = 0x100;

/**
 * Does the MSR bitmap make the access exit?
 * @sdm 26.1.3 Instructions That Cause VM Exits Conditionally
 * @omits MSRs other than the x2APIC's: KVM intercepts all that the model knows
 */
const isIntercepted = (m: Machine, vcpu: number, msr: number, write: boolean): boolean => {
  const index = msr - APIC_BASE_MSR;
  if (index < 0 || index >= x2apicMsrs) return true;
  if (!primaryOn(currentVmcs(m, vcpu), cpuControl.MSR_BITMAPS)) return true;
  const target = m.vcpu[vcpu]!;
  const bitmap =
    target.loaded_vmcs === loadedVmcs.VMCS01 ? target.msr_bitmap : target.nested.msr_bitmap;
  return write ? bitmap.x2apic_write.has(index) : bitmap.x2apic_read.has(index);
};

/** #GP(0): the guest's handler goes on behind the instruction. */
export const raiseGp = (m: Machine, vcpu: number): number => {
  m.vcpu[vcpu]!.guest.faulted++;
  return exitReason.NONE;
};

/**
 * Nothing stands between the guest and the APIC of the physical CPU: the hypervisor has forgotten
 * to intercept this. The model counts it; the access has no other effect.
 */
export const reachHostApic = (m: Machine): number => {
  m.vm.spec.host_apic_accesses++;
  return exitReason.NONE;
};

const offsetOf = (msr: number): number => (msr - APIC_BASE_MSR) * 16;

/** Puts the MSR into `guest.value` and `guest.value_high`, or gives the exit reason. */
export const readMsr = sdm('30.5', function* readMsr(m: Machine, vcpu: number, msr: number) {
  yield m.step('RDMSR {msr}', msr);
  const vmcs = currentVmcs(m, vcpu);
  if (isIntercepted(m, vcpu, msr, false)) return exitFor(vmcs, exitReason.RDMSR, 0);
  const offset = offsetOf(msr);
  const served =
    secondaryOn(vmcs, secondaryControl.VIRTUALIZE_X2APIC_MODE) &&
    (offset === APIC_TASKPRI || secondaryOn(vmcs, secondaryControl.APIC_REGISTER_VIRT));
  if (!served) return reachHostApic(m);
  const { guest } = m.vcpu[vcpu]!;
  guest.value = readVirtualApic(m, vcpu, offset);
  guest.value_high = readVirtualApic(m, vcpu, offset + 4);
  return exitReason.NONE as number;
});

const writeWide = (m: Machine, vcpu: number, offset: number, low: number, high: number): void => {
  writeVirtualApic(m, vcpu, offset, low);
  if (readVirtualApic(m, vcpu, offset + 4) !== high) {
    writeVirtualApic(m, vcpu, offset + 4, high);
  }
};

/** The registers that are virtualized, once the value has arrived. */
function* writeVirtualized(m: Machine, vcpu: number, offset: number, low: number, high: number) {
  const vmcs = currentVmcs(m, vcpu);
  const vid = secondaryOn(vmcs, secondaryControl.VIRTUAL_INTR_DELIVERY);
  if (offset === APIC_TASKPRI) {
    if (high !== 0 || low > 0xff) return raiseGp(m, vcpu);
    writeWide(m, vcpu, APIC_TASKPRI, low, high);
    return yield* tprVirtualization(m, vcpu);
  }
  if (offset === APIC_EOI && vid) {
    if (high !== 0 || low !== 0) return raiseGp(m, vcpu);
    writeWide(m, vcpu, APIC_EOI, low, high);
    return yield* eoiVirtualization(m, vcpu);
  }
  if (offset === APIC_SELF_IPI && vid) {
    if (high !== 0 || low > 0xff) return raiseGp(m, vcpu);
    return yield* writeSelfIpi(m, vcpu, low);
  }
  if (offset === APIC_ICR && ipivOn(vmcs)) {
    if (ipivChecksReservedBits && (low & reservedBitsOfIcr) !== 0) return raiseGp(m, vcpu);
    writeWide(m, vcpu, APIC_ICR, low, high);
    return yield* icrVirtualization(m, vcpu, low, high);
  }
  return reachHostApic(m);
}

/**
 * Only where the hypervisor has to look at the vector is it left in the page. Unverified: another
 * reading of the manual stores it beside a virtualized self-IPI too. No L1 guest can tell:
 * KVM intercepts reads of the MSR, and reads the word itself behind an APIC-write exit only.
 */
function* writeSelfIpi(m: Machine, vcpu: number, vector: number) {
  if (vector >= 16) {
    yield* selfIpiVirtualization(m, vcpu, vector);
    return exitReason.NONE as number;
  }
  writeVirtualApic(m, vcpu, APIC_SELF_IPI, vector);
  return exitFor(currentVmcs(m, vcpu), exitReason.APIC_WRITE, APIC_SELF_IPI);
}

/** Gives the exit reason, NONE if the guest goes on; #GP is counted in `guest.faulted`. */
export const writeMsr = sdm(
  '30.5',
  function* writeMsr(m: Machine, vcpu: number, msr: number, low: number, high: number) {
    yield m.step('WRMSR {msr} = {high}:{low}', msr, high, low);
    const vmcs = currentVmcs(m, vcpu);
    if (isIntercepted(m, vcpu, msr, true)) return exitFor(vmcs, exitReason.WRMSR, 0);
    if (!secondaryOn(vmcs, secondaryControl.VIRTUALIZE_X2APIC_MODE)) return reachHostApic(m);
    return yield* writeVirtualized(m, vcpu, offsetOf(msr), low, high);
  },
);
