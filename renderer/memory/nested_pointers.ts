// What vmcs02, the caches of L1's pages and the maps of KVM point to.

import { INVALID_GPA } from '../../main/sim/state/addresses.ts';
import type { CacheName } from '../../main/sim/state/gpc.ts';
import type { MachineView } from '../../main/sim/state/machine.ts';
import { mappingKind } from '../../main/sim/state/nested.ts';
import {
  type addressFields,
  allCaches,
  type Cache,
  isHypervisor,
  isUsable,
  l1PagesOf,
  mapFields,
  noAddress,
  runsL2,
} from './l1_pages.ts';
import type { Found } from './pointers.ts';
import { gfnOf } from './translate.ts';

const fullNames: Readonly<Record<(typeof addressFields)[number], string>> = {
  apic_access_addr: 'APIC_ACCESS_ADDR',
  virtual_apic_page_addr: 'VIRTUAL_APIC_PAGE_ADDR',
  posted_intr_desc_addr: 'POSTED_INTR_DESC_ADDR',
};

const cacheTexts: Readonly<Record<CacheName, string>> = {
  apic_access_page_cache: 'L2 APIC access',
  virtual_apic_cache: 'L2 virtual APIC',
  pi_desc_cache: 'L2 descriptor',
  msr_bitmap_cache: 'L1 MSR bitmap',
  hv_evmcs_cache: 'enlightened VMCS',
};

/** Does a guest address lie in the page? */
const isIn = (gpa: number, gfn: number): boolean => !noAddress(gpa) && gfnOf(gpa) === gfn;

/** The guest frames that an L2 or KVM on its behalf uses, with what they are to it. */
export const nestedPages = (m: MachineView): Map<number, string> => {
  const found = new Map<number, string>();
  for (const [v, vcpu] of m.vcpu.entries()) {
    if (!isHypervisor(vcpu)) continue;
    for (const page of l1PagesOf(m, v)) {
      if (page.wanted) found.set(gfnOf(page.gpa), `L2 ${page.name}`);
    }
    const { current_vmptr: vmptr } = vcpu.nested;
    if (vmptr !== INVALID_GPA) found.set(gfnOf(vmptr), 'vmcs12');
  }
  for (const { name, gpc } of allCaches(m)) {
    if (gpc.active && !noAddress(gpc.gpa) && !found.has(gfnOf(gpc.gpa))) {
      found.set(gfnOf(gpc.gpa), cacheTexts[name]);
    }
  }
  return found;
};

/** The addresses in vmcs02 that stand for the page. */
const addressesTo = (m: MachineView, v: number, gfn: number): Found[] =>
  l1PagesOf(m, v).flatMap(({ field, gpa, hpa, pfn, used }) => {
    if (field === 'msr_bitmap' || hpa === 0 || !isIn(gpa, gfn)) return [];
    const loaded = runsL2(m.vcpu[v]!);
    const idle = used ? 'not loaded' : 'control off';
    return [
      {
        path: `vcpu[${v}].vmcs02.${field}`,
        holder: 'vmcs' as const,
        name: `vcpu${v} vmcs02`,
        full: `vcpu${v} vmcs02 ${fullNames[field]}`,
        detail: used && loaded ? `0x${hpa.toString(16)}` : idle,
        pfn,
        // The next entry into L2 writes what is not loaded again: nobody goes by it.
        live: used && loaded && pfn >= 0,
        cpu: v,
      },
    ];
  });

const mapsTo = (m: MachineView, v: number, gfn: number): Found[] =>
  mapFields.flatMap((field) => {
    const map = m.vcpu[v]!.nested[field];
    if (map.mapping === mappingKind.NONE || map.gfn !== gfn) return [];
    return [
      {
        path: `vcpu[${v}].nested.${field}.pfn`,
        holder: 'map' as const,
        name: `vcpu${v} map${map.pinned ? ', pinned' : ''}`,
        full: `vcpu${v} ${field}`,
        detail: map.pinned ? 'kvm_host_map, pinned' : 'kvm_host_map',
        pfn: map.pfn,
        live: true,
        cpu: v,
      },
    ];
  });

const cacheFound = (m: MachineView, { path, owner, name, gpc }: Cache): Found[] => {
  const cpu = owner.startsWith('vcpu') ? Number(owner.slice(4)) : gpc.vcpu;
  const usable = isUsable(m, gpc);
  const state = gpc.valid ? 'valid' : 'invalid';
  const shared = { holder: 'cache' as const, full: `${owner} ${name}`, cpu };
  const found: Found[] = [
    {
      ...shared,
      path: `${path}.pfn`,
      name: `${owner} cache`,
      detail: usable || !gpc.valid ? state : 'old generation',
      pfn: gpc.pfn,
      live: usable,
    },
  ];
  // The kernel reaches another frame than the one whose number it gives away.
  if (gpc.khva !== mappingKind.NONE && gpc.khva_pfn !== gpc.pfn) {
    found.push({
      ...shared,
      path: `${path}.khva_pfn`,
      name: `${owner} cache khva`,
      full: `the mapping of ${owner} ${name}`,
      detail: state,
      pfn: gpc.khva_pfn,
      live: usable,
    });
  }
  return found;
};

/** Everything nested that leads to the frame of a guest page. */
export const nestedPointersTo = (m: MachineView, gfn: number): Found[] => [
  ...m.vcpu.flatMap((vcpu, v) =>
    isHypervisor(vcpu) ? [...addressesTo(m, v, gfn), ...mapsTo(m, v, gfn)] : [],
  ),
  ...allCaches(m)
    .filter(({ gpc }) => gpc.active && isIn(gpc.gpa, gfn))
    .flatMap((cache) => cacheFound(m, cache)),
];
