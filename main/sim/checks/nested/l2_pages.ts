/** The pages of L1 that vmcs02 points to, as the checks see them. */
import { type CacheName, gpcId } from '../../state/gpc.ts';
import { hpa_to_pfn, type MachineView, PAGE_SIZE, type VcpuView } from '../../state/machine.ts';
import { cpuControl, pinControl, secondaryControl } from '../../state/vmcs.ts';

/** One of the three that the CPU itself uses: its control, its address in vmcs02 and in vmcs12. */
export interface PageOfL2 {
  readonly name: string;
  readonly field: 'apic_access_addr' | 'virtual_apic_page_addr' | 'posted_intr_desc_addr';
  readonly cache: CacheName;
  readonly isEnabled: (vcpu: VcpuView) => boolean;
}

const secondaryOn = ({ vmcs02 }: VcpuView, control: number): boolean =>
  vmcs02.cpu_based_vm_exec_control.has(cpuControl.SECONDARY) &&
  vmcs02.secondary_vm_exec_control.has(control);

export const pagesOfL2: readonly PageOfL2[] = [
  {
    name: 'APIC-access page',
    field: 'apic_access_addr',
    cache: 'apic_access_page_cache',
    isEnabled: (vcpu) => secondaryOn(vcpu, secondaryControl.VIRTUALIZE_APIC_ACCESSES),
  },
  {
    name: 'virtual-APIC page',
    field: 'virtual_apic_page_addr',
    cache: 'virtual_apic_cache',
    isEnabled: ({ vmcs02 }) => vmcs02.cpu_based_vm_exec_control.has(cpuControl.TPR_SHADOW),
  },
  {
    name: 'posted-interrupt descriptor',
    field: 'posted_intr_desc_addr',
    cache: 'pi_desc_cache',
    isEnabled: ({ vmcs02 }) => vmcs02.pin_based_vm_exec_control.has(pinControl.POSTED_INTR),
  },
];

/** What `isEnabled` and the addresses read. */
export const pagesOfL2Reads: readonly string[] = [
  'vcpu[*].guest_mode',
  'vcpu[*].vmcs02.pin_based_vm_exec_control',
  'vcpu[*].vmcs02.cpu_based_vm_exec_control',
  'vcpu[*].vmcs02.secondary_vm_exec_control',
  ...pagesOfL2.map(({ field }) => `vcpu[*].vmcs02.${field}`),
];

/** The frame that vmcs02 gives the CPU for a page. */
export const frameInVmcs02 = ({ vmcs02 }: VcpuView, { field }: PageOfL2): number =>
  hpa_to_pfn(vmcs02[field]);

/** The cache of a page that the vCPU uses, by its number. */
export const cacheIdOf = (m: MachineView, vcpu: number, { cache }: PageOfL2): number =>
  gpcId(m, { vcpu, context: m.vcpu[vcpu]!.nested.context }, cache);

/** The frame that the primary page table has for a host virtual address, −1 for none. */
export const frameOfHva = (m: MachineView, hva: number): number => {
  for (const pte of m.pte) if (pte.used && pte.hva === hva) return pte.pfn;
  return -1;
};

/**
 * The frame behind an address of L1 by memslots and primary page table, −1 for none. A slot that is
 * about to go counts until it has gone: all vCPUs have to leave the guest before that.
 */
export const frameOfGpa = (m: MachineView, gpa: number): number => {
  const gfn = Math.floor(gpa / PAGE_SIZE);
  for (const { used, base_gfn, npages, userspace_addr } of m.vm.memslot) {
    if (!used || gfn < base_gfn || gfn >= base_gfn + npages) continue;
    return frameOfHva(m, userspace_addr + (gfn - base_gfn) * PAGE_SIZE);
  }
  return -1;
};
export const frameOfGpaReads: readonly string[] = ['pte[*].**', 'vm.memslot[*].**'];
