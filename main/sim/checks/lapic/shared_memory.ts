/** What KVM and the guest share in guest memory tells the truth. */
import { type MachineView, PAGE_SIZE } from '../../state/machine.ts';
import { apicAttention } from '../../state/vcpu.ts';
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';

/** The aligned word of user memory that an address is in; undefined while no frame is mapped. */
const userWord = (m: MachineView, hva: number): number | undefined => {
  const offset = hva % PAGE_SIZE;
  for (const { used, present, hva: page, pfn } of m.pte) {
    if (!used || !present || page !== hva - offset) continue;
    return m.frame[pfn]?.data.u32(offset & ~3);
  }
  return undefined;
};

const userWordReads = ['pte[*].**', 'frame[*].data'];

export const inv_vapic_sync: Check = {
  id: 'inv-vapic-sync',
  when: 'entry',
  per: 'vcpu',
  summary:
    'at an entry for which KVM has written the vAPIC word the guest finds it as it was written, ' +
    'with the TPR of the APIC',
  why: 'a guest that trusts the word would not see an interrupt, or not end it',
  races: [],
  reads: [
    'vcpu[*].spec.vapic_synced',
    'vcpu[*].spec.vapic_word',
    'vcpu[*].apic.vapic_cache.hva',
    'vcpu[*].apic.tpr',
    ...userWordReads,
  ],
  broken(m, index) {
    const { apic, spec } = m.vcpu[index]!;
    if (!spec.vapic_synced) return undefined;
    const word = userWord(m, apic.vapic_cache.hva);
    const right = spec.vapic_word;
    if (word === undefined || (word === right && (word & 0xff) === (apic.tpr & 0xff))) {
      return undefined;
    }
    return violated(
      `vCPU ${index} enters with vAPIC word ${hex(word)}, KVM wrote ${hex(right)}; TPR is ` +
        hex(apic.tpr),
      `vcpu[${index}].apic.vapic_cache.hva`,
      `vcpu[${index}].apic.tpr`,
    );
  },
};

export const inv_pv_eoi: Check = {
  id: 'inv-pv-eoi',
  when: 'entry',
  per: 'vcpu',
  summary:
    'at an entry with PV_EOI_PENDING bit 0 of the byte is set, a vector is in service whose EOI no ' +
    'IOAPIC needs, and APICv is off',
  why: 'the guest skips an EOI that somebody waits for',
  races: [],
  reads: [
    'vcpu[*].apic_attention',
    'vcpu[*].apic.apicv_active',
    'vcpu[*].apic.isr',
    'vcpu[*].ioapic_handled_vectors',
    'vcpu[*].pv_eoi.data.hva',
    ...userWordReads,
  ],
  broken(m, index) {
    const { apic_attention, apic, ioapic_handled_vectors: handled, pv_eoi } = m.vcpu[index]!;
    if (!apic_attention.has(apicAttention.PV_EOI_PENDING)) return undefined;
    const { hva } = pv_eoi.data;
    const word = userWord(m, hva);
    const isSet = word === undefined || ((word >>> ((hva & 3) * 8)) & 1) === 1;
    const vector = apic.isr.highest();
    if (isSet && !apic.apicv_active && vector >= 0 && !handled.has(vector)) return undefined;
    return violated(
      `vCPU ${index} enters with PV_EOI_PENDING; the byte is ${isSet ? 'set' : 'clear'}, vector ` +
        `${hex(Math.max(0, vector))} is in service, apicv_active is ${apic.apicv_active}`,
      `vcpu[${index}].apic_attention`,
      `vcpu[${index}].apic.isr`,
    );
  },
};
