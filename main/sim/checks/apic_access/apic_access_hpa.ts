/** The VMCS names the page that user space has mapped. */
import { hpa_to_pfn } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import type { Check } from '../check.ts';
import {
  apicAccessPte,
  apicAccessPteReads,
  hex,
  violated,
  virtualizesApicAccesses,
} from '../violation.ts';

export const inv_apic_access_hpa: Check = {
  id: 'inv-apic-access-hpa',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L1 is entered with "virtualize APIC accesses", APIC_ACCESS_ADDR is the frame that the ' +
    'primary page table maps for the private slot, or an invalidation is under way and RELOAD pending',
  why:
    'the CPU compares accesses with this address: if it is stale, the guest reads and writes raw ' +
    'memory instead of its APIC, and whoever owns the old frame now gets APIC accesses',
  races: ['R01', 'R05'],
  reads: [
    'vcpu[*].vmcs01.apic_access_addr',
    'vcpu[*].vmcs01.secondary_vm_exec_control',
    'vcpu[*].requests',
    'vcpu[*].guest_mode',
    'vm.mmu_invalidate_in_progress',
    'vm.spec.apic_unannounced',
    ...apicAccessPteReads,
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    const pte = m.pte[apicAccessPte(m)];
    if (pte === undefined || pte.pfn < 0 || !virtualizesApicAccesses(vcpu)) return undefined;
    // ->invalidate_range is about to announce the change, and will make the vCPU leave the guest.
    if (m.vm.spec.apic_unannounced > 0) return undefined;
    const address = vcpu.vmcs01.apic_access_addr;
    if (hpa_to_pfn(address) === pte.pfn) return undefined;
    const willReload = vcpu.requests.has(KVM_REQ.APIC_PAGE_RELOAD);
    if (willReload && m.vm.mmu_invalidate_in_progress > 0) return undefined;
    return violated(
      `vCPU ${index} enters L1 with APIC_ACCESS_ADDR ${hex(address)} (pfn ${hpa_to_pfn(address)}), ` +
        `but the APIC-access page is pfn ${pte.pfn}`,
      `vcpu[${index}].vmcs01.apic_access_addr`,
      `pte[${pte.index}].pfn`,
    );
  },
};
