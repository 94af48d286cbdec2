/** The TLB of a physical CPU: translations tagged by EP4TA and VPID. */
import { rootOf } from '../state/addresses.ts';
import { secondaryControl } from '../state/vmcs.ts';
import type { Machine } from '../steps.ts';
import { currentVmcs, secondaryOn } from './vmcs.ts';

/** The entry for a gfn under the vCPU's current EPTP and VPID, −1 if none is cached. */
export const tlbLookup = (m: Machine, vcpu: number, gfn: number): number => {
  const vmcs = currentVmcs(m, vcpu);
  const ep4ta = rootOf(vmcs.ept_pointer);
  const vpid = vmcs.virtual_processor_id;
  for (const entry of m.cpu[m.vcpu[vcpu]!.cpu]!.tlb) {
    if (entry.valid && entry.gfn === gfn && entry.ep4ta === ep4ta && entry.vpid === vpid) {
      return entry.index;
    }
  }
  return -1;
};

/** Caches a translation; entries are replaced in turn. Gives the entry. */
export const tlbFill = (m: Machine, vcpu: number, gfn: number, pfn: number): number => {
  const vmcs = currentVmcs(m, vcpu);
  const cpu = m.cpu[m.vcpu[vcpu]!.cpu]!;
  const entry = cpu.tlb[cpu.tlb_next]!;
  cpu.tlb_next = (cpu.tlb_next + 1) % cpu.tlb.length;
  entry.ep4ta = rootOf(vmcs.ept_pointer);
  entry.vpid = vmcs.virtual_processor_id;
  entry.gfn = gfn;
  entry.pfn = pfn;
  // Accesses through it are no APIC accesses, not even once the control is on.
  const plain = !secondaryOn(vmcs, secondaryControl.VIRTUALIZE_APIC_ACCESSES);
  if (entry.plain !== plain) entry.plain = plain;
  entry.valid = true;
  return entry.index;
};

/**
 * INVEPT single-context: removes the translations of one EP4TA.
 * @sdm 31.3 INVEPT
 */
export const inveptSingleContext = (m: Machine, cpu: number, root: number): void => {
  for (const entry of m.cpu[cpu]!.tlb) {
    if (entry.valid && entry.ep4ta === root) entry.valid = false;
  }
};

/**
 * INVEPT all-context: removes the translations of every EP4TA.
 * @sdm 31.3 INVEPT
 */
export const inveptAllContext = (m: Machine, cpu: number): void => {
  for (const entry of m.cpu[cpu]!.tlb) if (entry.valid) entry.valid = false;
};

/**
 * INVVPID single-context: removes the translations of one VPID.
 * @sdm 31.3 INVVPID
 */
export const invvpidSingleContext = (m: Machine, cpu: number, vpid: number): void => {
  for (const entry of m.cpu[cpu]!.tlb) {
    if (entry.valid && entry.vpid === vpid) entry.valid = false;
  }
};
