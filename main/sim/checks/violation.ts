/** Small shared pieces of the checks. */
import { APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, hvaOfApicAccessPage } from '../state/addresses.ts';
import type { MachineView, VcpuView } from '../state/machine.ts';
import { loadedVmcs } from '../state/vcpu.ts';
import { secondaryControl } from '../state/vmcs.ts';
import type { Violation } from './check.ts';

export const violated = (message: string, ...fields: string[]): Violation => ({ message, fields });

export const hex = (value: number): string => `0x${value.toString(16)}`;

/** The VMCS that the CPU runs the vCPU with. */
export const loadedVmcsOf = (vcpu: VcpuView): VcpuView['vmcs01'] =>
  vcpu.loaded_vmcs === loadedVmcs.VMCS01 ? vcpu.vmcs01 : vcpu.vmcs02;

/** Does the vCPU let the CPU virtualize APIC accesses, with L1 active? */
export const virtualizesApicAccesses = (vcpu: VcpuView): boolean =>
  !vcpu.guest_mode &&
  vcpu.vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUALIZE_APIC_ACCESSES);

/**
 * Index of the primary PTE of the APIC-access page; −1 without a private slot, or while that is
 * being deleted: then no access can reach the page, and nobody keeps the VMCS up to date.
 */
export const apicAccessPte = (m: MachineView): number => {
  for (const slot of m.vm.memslot) {
    if (!slot.used || slot.invalid || slot.id !== APIC_ACCESS_PAGE_PRIVATE_MEMSLOT) continue;
    for (const pte of m.pte) if (pte.used && pte.hva === hvaOfApicAccessPage) return pte.index;
  }
  return -1;
};

/** What `apicAccessPte` reads. */
export const apicAccessPteReads: readonly string[] = ['pte[*].**', 'vm.memslot[*].**'];
