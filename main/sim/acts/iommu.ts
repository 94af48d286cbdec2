/** Interrupt remapping: the IOMMU posts an interrupt of a device whose entry says so. */
import { raiseVector } from '../hw/physical_interrupts.ts';
import { type Machine, sdm } from '../steps.ts';

/** The CPU that NDST names, in the form of an xAPIC ID. */
const cpuOf = (ndst: number): number => (ndst >>> 8) & 0xff;

/**
 * PIR and the control word change in one atomic update, unlike those of KVM. NV is read then: what
 * the hypervisor writes afterwards comes too late for this notification.
 * @vtd 5.2.3 Interrupt-Posting Hardware Operation, 9.11 Posted Interrupt Descriptor
 * @omits urgent interrupts; entries of the table that remap only
 */
export const postInterrupt = sdm(
  '5.2.3',
  function* postInterrupt(m: Machine, vcpu: number, vector: number) {
    const { pi_desc, spec } = m.vcpu[vcpu]!;
    yield m.step('set vector {vector} in PIR; set ON unless SN is set', vector);
    pi_desc.pir.set(vector);
    if (pi_desc.on || pi_desc.sn) return;
    pi_desc.on = true;
    spec.notifying++;
    const { nv, ndst } = pi_desc;
    const cpu = cpuOf(ndst);
    yield m.step('send vector {nv} to CPU {cpu}', nv, cpu);
    raiseVector(m, cpu, nv);
    spec.notifying--;
  },
);
