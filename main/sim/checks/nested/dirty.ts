/** The dirty log knows what the CPU writes past the EPT. */
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

export const inv_vmcs12_dirty_tracked: Check = {
  id: 'inv-vmcs12-dirty-tracked',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when a vCPU is entered, what was written to the virtual-APIC page and the descriptor of its ' +
    'L2 before is in the dirty log',
  why:
    'the CPU and KVM write there without the EPT: a migration that does not hear of it copies an ' +
    'old page',
  races: ['R87'],
  reads: ['vcpu[*].spec.vapic_unlogged', 'vcpu[*].spec.pi_desc_unlogged'],
  broken(m, index) {
    const { vapic_unlogged, pi_desc_unlogged } = m.vcpu[index]!.spec;
    if (vapic_unlogged) {
      return violated(
        `the virtual-APIC page of the L2 of vCPU ${index} was written, and is not in the dirty log`,
        `vcpu[${index}].spec.vapic_unlogged`,
      );
    }
    return pi_desc_unlogged
      ? violated(
          `the descriptor of the L2 of vCPU ${index} was written, and is not in the dirty log`,
          `vcpu[${index}].spec.pi_desc_unlogged`,
        )
      : undefined;
  },
};
