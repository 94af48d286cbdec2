/** What the CPU uses while it runs L2 is the memory of L1. */

import { apicAccessGfn, INVALID_GPA } from '../../state/addresses.ts';
import { gpcFields, gpcOf, gpcPath } from '../../state/gpc.ts';
import type { Check } from '../check.ts';
import { apicAccessPte, apicAccessPteReads, hex, violated } from '../violation.ts';
import {
  cacheIdOf,
  frameInVmcs02,
  frameOfGpa,
  frameOfGpaReads,
  pagesOfL2,
  pagesOfL2Reads,
} from './l2_pages.ts';

export const inv_no_apic_slot_in_l2: Check = {
  id: 'inv-no-apic-slot-in-l2',
  when: 'step',
  per: 'machine',
  summary: 'no EPT02 maps a frame of the private slot of the APIC-access page',
  why:
    'for L2 the frame is no APIC-access page: its accesses to 0xfee00000 would reach memory that ' +
    'all vCPUs share',
  races: ['R06'],
  reads: ['ept[*].used', 'ept[*].eptp12', 'ept[*].spte[*].**', ...apicAccessPteReads],
  broken(m) {
    const pte = m.pte[apicAccessPte(m)];
    if (pte === undefined || pte.pfn < 0) return undefined;
    for (const root of m.ept) {
      if (!root.used || root.eptp12 === INVALID_GPA) continue;
      for (const spte of root.spte) {
        if (!spte.present || spte.l1_gfn !== apicAccessGfn || spte.pfn !== pte.pfn) continue;
        return violated(
          `EPT root ${root.index}, of an L2, maps gfn ${hex(spte.gfn)} to pfn ${spte.pfn}, which is ` +
            'the APIC-access page of L1',
          `ept[${root.index}].spte[${spte.index}].pfn`,
        );
      }
    }
    return undefined;
  },
};

export const inv_nested_pages_match: Check = {
  id: 'inv-nested-pages-match',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L2 is entered, each of APIC-access page, virtual-APIC page and descriptor that vmcs02 ' +
    'uses is the frame that memslots and primary page table have for the address in vmcs12',
  why:
    'the CPU reads and writes these frames without any translation: with a stale one it corrupts ' +
    'whoever has the frame now, and L1 looks at another page than its L2',
  races: ['R44', 'R76', 'R78', 'R81', 'R85'],
  reads: [
    ...pagesOfL2Reads,
    ...pagesOfL2.map(({ field }) => `vcpu[*].nested.cached_vmcs12.${field}`),
    ...frameOfGpaReads,
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!vcpu.guest_mode) return undefined;
    for (const page of pagesOfL2) {
      if (!page.isEnabled(vcpu)) continue;
      const gpa = vcpu.nested.cached_vmcs12[page.field];
      const named = frameInVmcs02(vcpu, page);
      const real = frameOfGpa(m, gpa);
      if (named === real) continue;
      return violated(
        `vCPU ${index} enters L2 with pfn ${named} as its ${page.name}, but L1 has ` +
          `${real < 0 ? 'no page' : `pfn ${real}`} at ${hex(gpa)}`,
        `vcpu[${index}].vmcs02.${page.field}`,
        `vcpu[${index}].nested.cached_vmcs12.${page.field}`,
      );
    }
    return undefined;
  },
};

export const inv_vmcs02_equals_gpc: Check = {
  id: 'inv-vmcs02-equals-gpc',
  when: 'entry',
  per: 'vcpu',
  summary: 'when L2 is entered, each page that vmcs02 uses is the frame that its cache has',
  why:
    'a cache that was looked up again behind the back of vmcs02 passes the final check: KVM uses ' +
    'the new frame, the CPU goes on writing to the old one',
  races: ['R78', 'R82'],
  reads: [...pagesOfL2Reads, 'vcpu[*].nested.context', ...gpcFields('active'), ...gpcFields('pfn')],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (!vcpu.guest_mode) return undefined;
    for (const page of pagesOfL2) {
      if (!page.isEnabled(vcpu)) continue;
      const id = cacheIdOf(m, index, page);
      const { active, pfn } = gpcOf(m, id);
      const named = frameInVmcs02(vcpu, page);
      if (!active || named === pfn) continue;
      return violated(
        `vCPU ${index} enters L2 with pfn ${named} as its ${page.name}, but the cache has pfn ${pfn}`,
        `vcpu[${index}].vmcs02.${page.field}`,
        `${gpcPath(m, id)}.pfn`,
      );
    }
    return undefined;
  },
};
