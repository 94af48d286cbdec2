/** The VMCS that a vCPU's CPU has current, and what its fields say. */
import type { ViewOf } from '../arena/fields.ts';
import { loadedVmcs } from '../state/vcpu.ts';
import { cpuControl, exitReason, type Vmcs } from '../state/vmcs.ts';
import type { Machine } from '../steps.ts';

export type VmcsView = ViewOf<typeof Vmcs>;

/** vmcs01 runs L1, vmcs02 runs L2: KVM loads one of them. */
export const currentVmcs = (m: Machine, vcpu: number): VmcsView => {
  const target = m.vcpu[vcpu]!;
  return target.loaded_vmcs === loadedVmcs.VMCS01 ? target.vmcs01 : target.vmcs02;
};

/** The controls of a VMCS, of the CPU or of L1. */
export type Controls = Pick<
  VmcsView,
  'pin_based_vm_exec_control' | 'cpu_based_vm_exec_control' | 'secondary_vm_exec_control'
>;

/** Is a primary processor-based control 1? */
export const primaryOn = (vmcs: Controls, control: number): boolean =>
  vmcs.cpu_based_vm_exec_control.has(control);

/** Is a pin-based control 1? */
export const pinOn = (vmcs: Controls, control: number): boolean =>
  vmcs.pin_based_vm_exec_control.has(control);

/**
 * Is a secondary control 1, and are the secondary controls in use?
 * @sdm 25.6.2 Processor-Based VM-Execution Controls
 */
export const secondaryOn = (vmcs: Controls, control: number): boolean =>
  vmcs.cpu_based_vm_exec_control.has(cpuControl.SECONDARY) &&
  vmcs.secondary_vm_exec_control.has(control);

/** The same for a tertiary control. */
export const tertiaryOn = (vmcs: VmcsView, control: number): boolean =>
  vmcs.cpu_based_vm_exec_control.has(cpuControl.TERTIARY) &&
  vmcs.tertiary_vm_exec_control.has(control);

/** Requesting virtual interrupt: the highest vector of VIRR, as far as the CPU knows. */
export const rviOf = (vmcs: VmcsView): number => vmcs.guest_intr_status & 0xff;
/** Servicing virtual interrupt: the highest vector of VISR. */
export const sviOf = (vmcs: VmcsView): number => vmcs.guest_intr_status >>> 8;

export const setRvi = (vmcs: VmcsView, vector: number): void => {
  const status = vmcs.guest_intr_status;
  if ((status & 0xff) !== vector) vmcs.guest_intr_status = (status & 0xff00) | vector;
};

export const setSvi = (vmcs: VmcsView, vector: number): void => {
  const status = vmcs.guest_intr_status;
  if (status >>> 8 !== vector) vmcs.guest_intr_status = (status & 0xff) | (vector << 8);
};

/** Says why the CPU is about to leave the guest; gives the reason. */
export const exitFor = (vmcs: VmcsView, reason: number, qualification: number): number => {
  if (vmcs.exit_qualification !== qualification) vmcs.exit_qualification = qualification;
  return reason;
};

/** Exits behind an instruction that has completed: the guest goes on with the next one. */
export const isTrapLike = (reason: number): boolean =>
  reason === exitReason.TPR_BELOW_THRESHOLD ||
  reason === exitReason.EOI_INDUCED ||
  reason === exitReason.APIC_WRITE;

/** A mask of bits by their numbers. */
export const maskOf = (...numbers: readonly number[]): number =>
  numbers.reduce((mask, bit) => (mask | (1 << bit)) >>> 0, 0);
