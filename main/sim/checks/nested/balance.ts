/** What is mapped or pinned for L2 is known to somebody who will give it back. */
import { gpcCount, gpcFields, gpcOf } from '../../state/gpc.ts';
import type { MachineView } from '../../state/machine.ts';
import { mappingKind } from '../../state/nested.ts';
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

const mapNames = [
  'apic_access_page_map',
  'virtual_apic_map',
  'pi_desc_map',
  'msr_bitmap_map',
  'hv_evmcs_map',
] as const;

type HostMap = MachineView['vcpu'][number]['nested'][(typeof mapNames)[number]];

const hostMaps = (m: MachineView): HostMap[] =>
  m.vcpu
    .flatMap(({ nested }) => mapNames.map((name) => nested[name]))
    .filter(({ mapping }) => mapping !== mappingKind.NONE);

const cachesMapped = (m: MachineView): number => {
  let count = 0;
  for (let id = 0; id < gpcCount(m); id++) if (gpcOf(m, id).khva !== mappingKind.NONE) count++;
  return count;
};

const costs = ['hostmap', 'gpc'].flatMap((user) =>
  ['kmap', 'memremap', 'kunmap', 'memunmap'].map((what) => `vcpu[*].stat.${user}_${what}`),
);

/** Mappings of each kind that were made and not undone. */
const live = (m: MachineView): { hostmap: number; gpc: number } => {
  const sum = { hostmap: 0, gpc: 0 };
  for (const { stat } of m.vcpu) {
    sum.hostmap += stat.hostmap_kmap + stat.hostmap_memremap;
    sum.hostmap -= stat.hostmap_kunmap + stat.hostmap_memunmap;
    sum.gpc += stat.gpc_kmap + stat.gpc_memremap - stat.gpc_kunmap - stat.gpc_memunmap;
  }
  return sum;
};

export const inv_mapping_balance: Check = {
  id: 'inv-mapping-balance',
  when: 'quiet',
  per: 'machine',
  summary:
    'every mapping of a page of L1 that was made and not undone is in a kvm_host_map or in a cache',
  why: 'a mapping that nobody knows is never undone: L1 can repeat that until memory is used up',
  races: ['R61', 'R73'],
  reads: [
    ...costs,
    ...mapNames.map((name) => `vcpu[*].nested.${name}.mapping`),
    ...gpcFields('khva'),
  ],
  broken(m) {
    const { hostmap, gpc } = live(m);
    const known = hostMaps(m).length;
    if (hostmap !== known) {
      return violated(
        `${hostmap} mappings of kvm_vcpu_map are live, but only ${known} are known`,
        'vcpu[0].stat.hostmap_kmap',
        'vcpu[0].stat.hostmap_memremap',
      );
    }
    const cached = cachesMapped(m);
    return gpc === cached
      ? undefined
      : violated(
          `${gpc} mappings of caches are live, but only ${cached} are known`,
          'vcpu[0].stat.gpc_kmap',
          'vcpu[0].stat.gpc_memremap',
        );
  },
};

export const inv_pin_balance: Check = {
  id: 'inv-pin-balance',
  when: 'quiet',
  per: 'machine',
  summary: 'the pins of a frame are those of the maps that lead to it',
  why: 'a pin that nobody drops keeps the frame where it is, for ever',
  races: ['R61'],
  reads: [
    'frame[*].pincount',
    'vcpu[*].stat.hostmap_pins',
    ...mapNames.flatMap((name) =>
      ['mapping', 'pinned', 'pfn'].map((field) => `vcpu[*].nested.${name}.${field}`),
    ),
  ],
  broken(m) {
    // Before v6.13 the maps hold references, which others hold as well.
    if (m.vcpu.every(({ stat }) => stat.hostmap_pins === 0)) return undefined;
    const maps = hostMaps(m);
    for (const { index, pincount } of m.frame) {
      const known = maps.filter(({ pinned, pfn }) => pinned && pfn === index).length;
      if (pincount === known) continue;
      return violated(
        `pfn ${index} has ${pincount} pins, but ${known} maps that hold it`,
        `frame[${index}].pincount`,
      );
    }
    return undefined;
  },
};
