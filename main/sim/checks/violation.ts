/** Small shared pieces of the checks. */
import { APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, hvaOfApicAccessPage } from '../state/addresses.ts';
import { MSR_IA32_APICBASE_ENABLE } from '../state/apicdef.ts';
import type { MachineView, VcpuView } from '../state/machine.ts';
import { classOf, priorityOf } from '../state/priority.ts';
import { loadedVmcs, vcpuMode } from '../state/vcpu.ts';
import { interruptShadow, secondaryControl } from '../state/vmcs.ts';
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

/** Is the APIC of the vCPU there, as far as IA32_APIC_BASE says? */
export const isPresent = ({ apic_base }: VcpuView): boolean =>
  (apic_base & MSR_IA32_APICBASE_ENABLE) !== 0;

/** Does the CPU deliver virtual interrupts to L1, from a page that KVM can see? */
export const deliversToL1 = ({ guest_mode, vmcs01, apic }: VcpuView): boolean =>
  !guest_mode &&
  !apic.guest_apic_protected &&
  vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUAL_INTR_DELIVERY);

/** Has a sender that found APICv off put a vector into IRR, for which it makes the vCPU exit? */
export const isBeingKicked = ({ spec, mode }: VcpuView): boolean =>
  spec.accepting > 0 || mode === vcpuMode.EXITING_GUEST_MODE;

/** Is the priority class of a vector above those of the TPR and of what is in service? */
export const passesPriority = ({ apic }: VcpuView, vector: number): boolean =>
  classOf(vector) > classOf(priorityOf(apic.tpr, Math.max(0, apic.isr.highest())));

/** Could the guest take an interrupt of this priority class, if its APIC offered it one? */
export const isOpenFor = (vcpu: VcpuView, vector: number): boolean =>
  vcpu.guest.rflags_if &&
  (loadedVmcsOf(vcpu).guest_interruptibility & interruptShadow) === 0 &&
  passesPriority(vcpu, vector);

/** What `isOpenFor` reads. */
export const isOpenForReads: readonly string[] = [
  'vcpu[*].guest.rflags_if',
  'vcpu[*].vmcs01.guest_interruptibility',
  'vcpu[*].vmcs02.guest_interruptibility',
  'vcpu[*].loaded_vmcs',
  'vcpu[*].apic.tpr',
  'vcpu[*].apic.isr',
];
