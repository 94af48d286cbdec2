/** The VMCS and the EPT mean the same page. */
import { apicAccessGfn } from '../../state/addresses.ts';
import { hpa_to_pfn } from '../../state/machine.ts';
import type { Check } from '../check.ts';
import { violated, virtualizesApicAccesses } from '../violation.ts';

export const inv_apic_access_ept_match: Check = {
  id: 'inv-apic-access-ept-match',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L1 is entered with "virtualize APIC accesses" and EPT01 maps 0xfee00000, it maps the ' +
    'frame that APIC_ACCESS_ADDR names',
  why:
    'an access is an APIC access only if translation ends in exactly that frame: with another one ' +
    'mapped, every APIC register access of the guest goes to plain memory',
  races: ['R01', 'R03'],
  reads: [
    'vcpu[*].vmcs01.apic_access_addr',
    'vcpu[*].vmcs01.secondary_vm_exec_control',
    'vcpu[*].root_mmu.root',
    'vcpu[*].guest_mode',
    'ept[*].spte[*].**',
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    const root = m.ept[vcpu.root_mmu.root];
    if (root === undefined || !virtualizesApicAccesses(vcpu)) return undefined;
    for (const spte of root.spte) {
      if (!spte.present || spte.gfn !== apicAccessGfn) continue;
      const named = hpa_to_pfn(vcpu.vmcs01.apic_access_addr);
      if (spte.pfn === named) return undefined;
      return violated(
        `vCPU ${index} enters L1 with 0xfee00000 mapped to pfn ${spte.pfn}, but APIC_ACCESS_ADDR ` +
          `names pfn ${named}`,
        `ept[${root.index}].spte[${spte.index}].pfn`,
        `vcpu[${index}].vmcs01.apic_access_addr`,
      );
    }
    return undefined;
  },
};
