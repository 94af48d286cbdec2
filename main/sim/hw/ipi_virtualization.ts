/** A guest's write of its ICR without the hypervisor: self-IPIs, and IPIs that are posted. */
import { vcpuOfPiDesc } from '../state/addresses.ts';
import { APIC_ICR } from '../state/apicdef.ts';
import { cpuControl, exitReason, secondaryControl, tertiaryControl } from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { readPhysical, writePhysical } from './memory.ts';
import { raiseVector } from './physical_interrupts.ts';
import { nvOfControl, ON, offsetOfControl, offsetOfNdst, SN } from './posted_interrupts.ts';
import { selfIpiVirtualization } from './virtual_interrupts.ts';
import { currentVmcs, exitFor, primaryOn, secondaryOn, tertiaryOn, type VmcsView } from './vmcs.ts';

/**
 * Unverified: with IPI virtualization the ICR is served from the virtual-APIC page even without
 * APIC-register virtualization, as newer editions of the manual have it.
 */
export const ipivServesIcrAlone = true;
/** Unverified: a WRMSR of the x2APIC ICR that sets a reserved bit raises #GP. */
export const ipivChecksReservedBits = true;
/** Unverified: a notification is sent as the host's own APIC would send it, here in xAPIC mode. */
const apicIdOfNdst = (ndst: number): number => (ndst >>> 8) & 0xff;

/** Bits of the ICR that no x2APIC has: 31:20, 17:16, 13:12. */
export const reservedBitsOfIcr = 0xfff3_3000;
/** Bits that decide: reserved, shorthand 19:18, trigger mode 15, delivery mode 10:8. */
const decidingBits = reservedBitsOfIcr | 0x000c_8700;
const DESTINATION_MODE = 1 << 11;
const SHORTHAND_SELF = 1 << 18;
/** The lowest 16 vectors are reserved: an APIC does not accept them. */
const firstVector = 16;

const isSelfIpi = (icr: number): boolean =>
  (icr & decidingBits) === SHORTHAND_SELF && (icr & 0xff) >= firstVector;

const isPostable = (icr: number): boolean =>
  (icr & (decidingBits | DESTINATION_MODE)) === 0 && (icr & 0xff) >= firstVector;

export const ipivOn = (vmcs: VmcsView): boolean =>
  primaryOn(vmcs, cpuControl.TPR_SHADOW) && tertiaryOn(vmcs, tertiaryControl.IPI_VIRT);

/** The descriptor of a virtual APIC ID; 0 if the table has none, or a malformed entry. */
const descriptorOf = (m: Machine, vmcs: VmcsView, apicId: number): number => {
  if (apicId > vmcs.last_pid_pointer_index) return 0;
  const low = readPhysical(m, vmcs.pid_pointer_table + 8 * apicId);
  const high = readPhysical(m, vmcs.pid_pointer_table + 8 * apicId + 4);
  return (low & 0x3f) === 1 ? high * 0x1_0000_0000 + (low - 1) : 0;
};

/**
 * Posts a vector to another virtual CPU; gives APIC_WRITE if the hypervisor has to.
 * Unverified beyond what the reference says of it.
 */
const ipiVirtualization = sdm(
  '30.1.6',
  function* ipiVirtualization(m: Machine, vcpu: number, vector: number, apicId: number) {
    const vmcs = currentVmcs(m, vcpu);
    yield m.step('find the descriptor of APIC ID {apicId}', apicId);
    const descriptor = descriptorOf(m, vmcs, apicId);
    if (descriptor === 0) return exitFor(vmcs, exitReason.APIC_WRITE, APIC_ICR);
    yield m.step('set PIR[{vector}] of APIC ID {apicId}', vector, apicId);
    const word = descriptor + 4 * (vector >>> 5);
    writePhysical(m, word, readPhysical(m, word) | (1 << (vector & 31)));
    const { spec } = m.vcpu[vcpuOfPiDesc(descriptor)]!;
    spec.posting++;
    yield m.step('set ON if neither ON nor SN is set');
    const control = readPhysical(m, descriptor + offsetOfControl);
    spec.posting--;
    if ((control & (ON | SN)) !== 0) return exitReason.NONE as number;
    spec.notifying++;
    writePhysical(m, descriptor + offsetOfControl, control | ON);
    const target = apicIdOfNdst(readPhysical(m, descriptor + offsetOfNdst));
    yield m.step('notify CPU {target}', target);
    m.cpu[target]!.ipis++;
    raiseVector(m, target, nvOfControl(control));
    spec.notifying--;
    return exitReason.NONE as number;
  },
);

/** Behind a write of the ICR: gives APIC_WRITE if the hypervisor has to send the interrupt. */
export const icrVirtualization = sdm(
  '30.4.3.2',
  function* icrVirtualization(m: Machine, vcpu: number, icr: number, apicId: number) {
    const vmcs = currentVmcs(m, vcpu);
    if (secondaryOn(vmcs, secondaryControl.VIRTUAL_INTR_DELIVERY) && isSelfIpi(icr)) {
      yield* selfIpiVirtualization(m, vcpu, icr & 0xff);
      return exitReason.NONE as number;
    }
    if (ipivOn(vmcs) && isPostable(icr)) {
      return yield* ipiVirtualization(m, vcpu, icr & 0xff, apicId);
    }
    return exitFor(vmcs, exitReason.APIC_WRITE, APIC_ICR);
  },
);
