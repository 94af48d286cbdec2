/** Priorities of an APIC: what the CPU, KVM and the checks compute alike. */

/** PPR, from the TPR and the highest vector in service. */
export const priorityOf = (tpr: number, inService: number): number =>
  (tpr & 0xf0) >= (inService & 0xf0) ? tpr & 0xff : inService & 0xf0;

/** Priority class of a vector, a TPR or a PPR: within one class nothing interrupts. */
export const classOf = (priority: number): number => (priority >>> 4) & 0xf;
