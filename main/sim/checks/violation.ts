/** Small shared pieces of the checks. */
import { hvaOfApicAccessPage } from '../state/addresses.ts';
import type { MachineView, VcpuView } from '../state/machine.ts';
import { secondaryControl } from '../state/vmcs.ts';
import type { Violation } from './check.ts';

export const violated = (message: string, ...fields: string[]): Violation => ({ message, fields });

export const hex = (value: number): string => `0x${value.toString(16)}`;

/** Does the vCPU let the CPU virtualize APIC accesses, with L1 active? */
export const virtualizesApicAccesses = (vcpu: VcpuView): boolean =>
  !vcpu.guest_mode
  && vcpu.vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUALIZE_APIC_ACCESSES);

/** Index of the primary PTE of the APIC-access page, −1 once it is unmapped for good. */
export const apicAccessPte = (m: MachineView): number => {
  for (const pte of m.pte) if (pte.used && pte.hva === hvaOfApicAccessPage) return pte.index;
  return -1;
};
