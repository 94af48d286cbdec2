/** RVI, SVI and VPPR agree with the registers that they stand for. */
import type { VcpuView } from '../../state/machine.ts';
import { priorityOf } from '../../state/priority.ts';
import type { Check } from '../check.ts';
import { deliversToL1, hex, isBeingKicked, isPresent, violated } from '../violation.ts';

const rviOf = ({ vmcs01 }: VcpuView): number => vmcs01.guest_intr_status & 0xff;
const sviOf = ({ vmcs01 }: VcpuView): number => vmcs01.guest_intr_status >>> 8;

const reads = [
  'vcpu[*].vmcs01.guest_intr_status',
  'vcpu[*].vmcs01.secondary_vm_exec_control',
  'vcpu[*].apic.guest_apic_protected',
  'vcpu[*].guest_mode',
];

/** What RVI is compared with, and when. */
const rviReads = [
  ...reads,
  'vcpu[*].apic.irr',
  'vcpu[*].apic.sw_enabled',
  'vcpu[*].apic_base',
  'vcpu[*].spec.accepting',
  'vcpu[*].mode',
];

/**
 * KVM looks at RVI only for an APIC that is enabled. A sender that has found APICv off puts its
 * vector into IRR and makes the vCPU come out: it is harvested on the way back.
 */
const rviIsDue = (vcpu: VcpuView): boolean =>
  deliversToL1(vcpu) && isPresent(vcpu) && vcpu.apic.sw_enabled && !isBeingKicked(vcpu);

export const inv_rvi_matches_irr: Check = {
  id: 'inv-rvi-matches-irr',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L1 is entered with interrupt delivery and an enabled APIC, RVI is the highest vector of ' +
    'IRR, or 0; unless a sender that found APICv off is about to make it exit',
  why: 'the CPU looks at RVI alone: a vector above it is not delivered',
  races: ['R24', 'R51'],
  reads: rviReads,
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!rviIsDue(vcpu)) return undefined;
    const highest = Math.max(0, vcpu.apic.irr.highest());
    if (rviOf(vcpu) === highest) return undefined;
    return violated(
      `vCPU ${index} enters L1 with RVI ${hex(rviOf(vcpu))}, ` +
        `the highest vector of IRR is ${hex(highest)}`,
      `vcpu[${index}].vmcs01.guest_intr_status`,
      `vcpu[${index}].apic.irr`,
    );
  },
};

export const inv_rvi_max: Check = {
  id: 'inv-rvi-max',
  when: 'exit',
  per: 'vcpu',
  summary:
    'when the CPU leaves L1 with interrupt delivery on and an enabled APIC, no vector of IRR is ' +
    'above RVI; unless a sender that found APICv off made it exit',
  why: 'the CPU itself has lost a vector: a fault of the model of the hardware',
  races: [],
  reads: rviReads,
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!rviIsDue(vcpu) || vcpu.apic.irr.highest() <= rviOf(vcpu)) return undefined;
    return violated(
      `vCPU ${index} leaves L1 with RVI ${hex(rviOf(vcpu))} below vector ` +
        `${hex(vcpu.apic.irr.highest())} of IRR`,
      `vcpu[${index}].vmcs01.guest_intr_status`,
      `vcpu[${index}].apic.irr`,
    );
  },
};

export const inv_svi_matches_isr: Check = {
  id: 'inv-svi-matches-isr',
  when: 'entry',
  per: 'vcpu',
  summary: 'when L1 is entered with interrupt delivery, SVI is the highest vector of ISR, or 0',
  why: 'the next EOI retires the wrong vector, and PPR holds back what it should let through',
  races: ['R32', 'R33', 'R50'],
  reads: [...reads, 'vcpu[*].apic.isr'],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!deliversToL1(vcpu)) return undefined;
    const highest = Math.max(0, vcpu.apic.isr.highest());
    if (sviOf(vcpu) === highest) return undefined;
    return violated(
      `vCPU ${index} enters L1 with SVI ${hex(sviOf(vcpu))}, ` +
        `the highest vector in service is ${hex(highest)}`,
      `vcpu[${index}].vmcs01.guest_intr_status`,
      `vcpu[${index}].apic.isr`,
    );
  },
};

export const inv_vppr: Check = {
  id: 'inv-vppr',
  when: 'exit',
  per: 'vcpu',
  summary:
    'when the CPU leaves L1 with interrupt delivery on, PPR is the higher of TPR and the class of ' +
    'the highest vector in service',
  why: 'PPR decides which interrupts wait: too high, and they wait for ever',
  races: ['R50'],
  reads: [...reads, 'vcpu[*].apic.isr', 'vcpu[*].apic.tpr', 'vcpu[*].apic.ppr'],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!deliversToL1(vcpu)) return undefined;
    const { tpr, ppr, isr } = vcpu.apic;
    const wanted = priorityOf(tpr, Math.max(0, isr.highest()));
    if (ppr === wanted) return undefined;
    return violated(
      `vCPU ${index} leaves L1 with PPR ${hex(ppr)}; TPR ${hex(tpr)} and the highest vector in ` +
        `service give ${hex(wanted)}`,
      `vcpu[${index}].apic.ppr`,
      `vcpu[${index}].apic.isr`,
      `vcpu[${index}].vmcs01.guest_intr_status`,
    );
  },
};
