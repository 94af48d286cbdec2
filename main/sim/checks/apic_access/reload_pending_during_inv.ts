/** Nobody runs on with an address whose page has changed. */
import { hpa_to_pfn } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import type { Check } from '../check.ts';
import {
  apicAccessPte,
  apicAccessPteReads,
  violated,
  virtualizesApicAccesses,
} from '../violation.ts';

export const inv_reload_pending_during_inv: Check = {
  id: 'inv-reload-pending-during-inv',
  when: 'step',
  per: 'vcpu',
  summary:
    'once an ongoing invalidation has changed the primary PTE of the APIC-access page, each vCPU ' +
    'has RELOAD pending, owes it to L1 when L2 ends, is in the middle of the reload, or has the new ' +
    'frame already',
  why:
    'this is the moment at which the race is lost: a vCPU without RELOAD will enter with the old ' +
    'address',
  races: ['R01'],
  reads: [
    'vm.spec.apic_pte_changed',
    'vcpu[*].requests',
    'vcpu[*].spec.in_reload',
    'vcpu[*].nested.reload_vmcs01_apic_access_page',
    'vcpu[*].vmcs01.apic_access_addr',
    'vcpu[*].vmcs01.secondary_vm_exec_control',
    'vcpu[*].guest_mode',
    'vm.spec.apic_unannounced',
    ...apicAccessPteReads,
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    const { spec } = m.vm;
    if (spec.apic_pte_changed === 0 || spec.apic_unannounced > 0) return undefined;
    if (!virtualizesApicAccesses(vcpu)) return undefined;
    if (vcpu.requests.has(KVM_REQ.APIC_PAGE_RELOAD) || vcpu.spec.in_reload) return undefined;
    // Put off while L2 ran: the exit to L1 that is under way makes the request.
    if (vcpu.nested.reload_vmcs01_apic_access_page) return undefined;
    const pte = m.pte[apicAccessPte(m)];
    const named = hpa_to_pfn(vcpu.vmcs01.apic_access_addr);
    if (pte === undefined || pte.pfn === named) return undefined;
    return violated(
      `the APIC-access page has left pfn ${named}, vCPU ${index} still names it and has no RELOAD pending`,
      `vcpu[${index}].vmcs01.apic_access_addr`,
      `vcpu[${index}].requests`,
      `pte[${pte.index}].pfn`,
    );
  },
};
