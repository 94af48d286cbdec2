/** What the CPU does with an access to the APIC-access page. */

import { APIC_PROCPRI, APIC_TASKPRI } from '../state/lapic.ts';
import { hpa_to_pfn } from '../state/machine.ts';
import { cpuControl, exitReason, secondaryControl } from '../state/vmcs.ts';
import type { Machine } from '../steps.ts';
import { readFrame, writeFrame } from './memory.ts';

/** PPR as the CPU and KVM compute it from the TPR and the highest vector in service. */
export const priorityOf = (tpr: number, inService: number): number =>
  (tpr & 0xf0) >= (inService & 0xf0) ? tpr & 0xff : inService & 0xf0;

/** Does the CPU treat an access to this frame as an APIC access? @sdm 30.4.1 */
export const isApicAccess = (m: Machine, vcpu: number, pfn: number): boolean => {
  const { vmcs01 } = m.vcpu[vcpu]!;
  return (
    vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUALIZE_APIC_ACCESSES) &&
    hpa_to_pfn(vmcs01.apic_access_addr) === pfn
  );
};

const virtualApicFrame = (m: Machine, vcpu: number): number =>
  hpa_to_pfn(m.vcpu[vcpu]!.vmcs01.virtual_apic_page_addr);

/**
 * Recomputes the virtual PPR; done at VM entry, TPR and EOI virtualization only.
 * @sdm 30.1.3 Processor-Priority Virtualization
 */
export const virtualizePpr = (m: Machine, vcpu: number): void => {
  const page = virtualApicFrame(m, vcpu);
  const svi = m.vcpu[vcpu]!.vmcs01.guest_intr_status >>> 8;
  const ppr = priorityOf(readFrame(m, page, APIC_TASKPRI), svi);
  if (readFrame(m, page, APIC_PROCPRI) !== ppr) writeFrame(m, page, APIC_PROCPRI, ppr);
};

/** The exit that an access causes, or NONE: it was virtualized. */
export type ApicAccessOutcome = (typeof exitReason)['NONE' | 'APIC_ACCESS' | 'TPR_BELOW_THRESHOLD'];

/**
 * A guest access to the TPR in the APIC-access page. A read puts the value into `guest.value`.
 * @sdm 30.4.2, 30.4.3, 30.1.2
 * @omits every other offset: the tables of 30.4 are not modelled yet
 */
export const virtualizeTprAccess = (
  m: Machine,
  vcpu: number,
  write: boolean,
  value: number,
): ApicAccessOutcome => {
  const { vmcs01, guest } = m.vcpu[vcpu]!;
  if (!vmcs01.cpu_based_vm_exec_control.has(cpuControl.TPR_SHADOW)) return exitReason.APIC_ACCESS;
  const page = virtualApicFrame(m, vcpu);
  if (!write) {
    guest.value = readFrame(m, page, APIC_TASKPRI);
    return exitReason.NONE;
  }
  // The emulation behind the instruction clears bytes 3:1 before TPR virtualization.
  writeFrame(m, page, APIC_TASKPRI, value & 0xff);
  if (vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUAL_INTR_DELIVERY)) {
    virtualizePpr(m, vcpu);
    return exitReason.NONE;
  }
  return ((value >>> 4) & 0xf) < (vmcs01.tpr_threshold & 0xf)
    ? exitReason.TPR_BELOW_THRESHOLD
    : exitReason.NONE;
};
