/** KVM's own fields of a local APIC agree with the registers that they mirror. */
import { APIC_LVT_MASKED, APIC_SPIV_APIC_ENABLED } from '../../state/apicdef.ts';
import type { VcpuView } from '../../state/machine.ts';
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';

const lvts = ['lvtt', 'lvtthmr', 'lvtpc', 'lvt0', 'lvt1', 'lvterr', 'lvtcmci'] as const;

export const inv_sw_enabled_mirror: Check = {
  id: 'inv-sw-enabled-mirror',
  when: 'entry',
  per: 'vcpu',
  summary: 'at VM entry sw_enabled is bit 8 of SPIV',
  why: 'senders look at the mirror: a disabled APIC would accept interrupts, or an enabled one none',
  races: [],
  reads: ['vcpu[*].apic.sw_enabled', 'vcpu[*].apic.spiv'],
  broken(m, index) {
    const { sw_enabled, spiv } = m.vcpu[index]!.apic;
    if (sw_enabled === ((spiv & APIC_SPIV_APIC_ENABLED) !== 0)) return undefined;
    return violated(
      `vCPU ${index} has sw_enabled ${sw_enabled} with SPIV ${hex(spiv)}`,
      `vcpu[${index}].apic.sw_enabled`,
      `vcpu[${index}].apic.spiv`,
    );
  },
};

/** The last entry, CMCI, need not exist. */
const unmaskedLvt = ({ apic }: VcpuView): (typeof lvts)[number] | undefined =>
  lvts.slice(0, apic.nr_lvt_entries).find((lvt) => (apic[lvt] & APIC_LVT_MASKED) === 0);

export const inv_lvt_masked_when_disabled: Check = {
  id: 'inv-lvt-masked-when-disabled',
  when: 'entry',
  per: 'vcpu',
  summary:
    'at VM entry an APIC that a write of SPIV has disabled has every LVT entry masked (RESET leaves ' +
    'LVT0 of the boot processor open, and user space may restore what it likes)',
  why: 'a disabled APIC would still deliver its own interrupts',
  races: [],
  reads: [
    'vcpu[*].spec.lvts_to_mask',
    'vcpu[*].apic.nr_lvt_entries',
    ...lvts.map((lvt) => `vcpu[*].apic.${lvt}`),
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!vcpu.spec.lvts_to_mask) return undefined;
    const lvt = unmaskedLvt(vcpu);
    if (lvt === undefined) return undefined;
    return violated(
      `vCPU ${index} has disabled its APIC, but ${lvt} is ${hex(vcpu.apic[lvt])}, not masked`,
      `vcpu[${index}].apic.${lvt}`,
    );
  },
};
