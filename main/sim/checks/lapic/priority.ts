/** IRR, ISR and PPR, and what KVM remembers of them. */
import { priorityOf } from '../../state/priority.ts';
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';

export const inv_ppr_consistent: Check = {
  id: 'inv-ppr-consistent',
  when: 'step',
  per: 'vcpu',
  summary:
    'each time that KVM computes the PPR it is the higher of TPR and the class of the highest ' +
    'vector in service',
  why: 'PPR decides which interrupt KVM injects',
  races: [],
  reads: ['vcpu[*].spec.ppr_update'],
  broken(m, index) {
    const seen = m.vcpu[index]!.spec.ppr_update;
    const [tpr, inService, ppr] = [seen & 0xff, (seen >>> 8) & 0xff, seen >>> 16];
    if (ppr === priorityOf(tpr, inService)) return undefined;
    return violated(
      `KVM computed PPR ${hex(ppr)} for vCPU ${index}; TPR ${hex(tpr)} and vector ` +
        `${hex(inService)} in service give ${hex(priorityOf(tpr, inService))}`,
      `vcpu[${index}].apic.ppr`,
      `vcpu[${index}].apic.isr`,
    );
  },
};

export const inv_irr_hint: Check = {
  id: 'inv-irr-hint',
  when: 'step',
  per: 'vcpu',
  summary:
    'while IRR is not empty irr_pending is set, unless a thread stands between a change of the one ' +
    'and of the other',
  why: 'KVM does not look into IRR while the hint is clear: the interrupt waits for the next one',
  races: ['R47', 'R48'],
  reads: [
    'vcpu[*].apic.irr_pending',
    'vcpu[*].apic.irr',
    'vcpu[*].spec.irr_hint_open',
    'vcpu[*].spec.harvesting',
  ],
  broken(m, index) {
    const { apic, spec } = m.vcpu[index]!;
    if (apic.irr_pending || spec.irr_hint_open > 0 || spec.harvesting > 0) return undefined;
    const highest = apic.irr.highest();
    if (highest < 0) return undefined;
    return violated(
      `vector ${hex(highest)} is in IRR of vCPU ${index}, but irr_pending is clear`,
      `vcpu[${index}].apic.irr`,
      `vcpu[${index}].apic.irr_pending`,
    );
  },
};

export const inv_isr_hint: Check = {
  id: 'inv-isr-hint',
  when: 'entry',
  per: 'vcpu',
  summary:
    'at VM entry isr_count counts the vectors in service and highest_isr_cache is −1 or the ' +
    'highest; with APICv they are 1 and −1',
  why: 'KVM computes PPR from the cache: a wrong one delivers too early or never',
  races: [],
  reads: [
    'vcpu[*].apic.isr',
    'vcpu[*].apic.isr_count',
    'vcpu[*].apic.highest_isr_cache',
    'vcpu[*].apic.apicv_active',
  ],
  broken(m, index) {
    const { apicv_active, isr_count, highest_isr_cache, isr } = m.vcpu[index]!.apic;
    const count = apicv_active ? 1 : isr.count();
    const cached = highest_isr_cache === -1;
    const known = cached || (!apicv_active && highest_isr_cache === isr.highest());
    if (isr_count === count && known) return undefined;
    return violated(
      `vCPU ${index} has isr_count ${isr_count} and highest_isr_cache ${highest_isr_cache} ` +
        `with ${isr.count()} vectors in service, apicv_active ${apicv_active}`,
      `vcpu[${index}].apic.isr_count`,
      `vcpu[${index}].apic.highest_isr_cache`,
    );
  },
};

export const inv_isr_unique_class: Check = {
  id: 'inv-isr-unique-class',
  when: 'step',
  per: 'vcpu',
  summary: 'no EOI, of the CPU or of KVM, ends a vector other than the highest in service',
  why: 'the handler that is over stays in service, and holds its class back for ever',
  races: ['R32', 'R33', 'R50'],
  reads: ['vcpu[*].spec.wrong_eois', 'vcpu[*].apic.isr'],
  broken(m, index) {
    const { apic, spec } = m.vcpu[index]!;
    return spec.wrong_eois === 0
      ? undefined
      : violated(
          `an EOI of vCPU ${index} did not end the highest vector in service; ` +
            `${hex(Math.max(0, apic.isr.highest()))} is left`,
          `vcpu[${index}].apic.isr`,
          `vcpu[${index}].vmcs01.guest_intr_status`,
        );
  },
};
