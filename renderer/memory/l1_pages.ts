// The pages of L1 that an L2 uses: where vmcs12 has them, what vmcs02 names, and what KVM keeps.

import { INVALID_GPA } from '../../main/sim/state/addresses.ts';
import type { CacheName, GpcView } from '../../main/sim/state/gpc.ts';
import type { MachineView, VcpuView } from '../../main/sim/state/machine.ts';
import { cacheNames, mappingKind } from '../../main/sim/state/nested.ts';
import { loadedVmcs } from '../../main/sim/state/vcpu.ts';
import { cpuControl, pinControl, secondaryControl } from '../../main/sim/state/vmcs.ts';
import { frameOf, gfnOf, mappedFrame, type Trouble, troubleOf } from './translate.ts';

type Controls = Pick<
  VcpuView['vmcs02'],
  'pin_based_vm_exec_control' | 'cpu_based_vm_exec_control' | 'secondary_vm_exec_control'
>;

/** Fields of vmcs02 that hold the address of a page of L1. */
export const addressFields = [
  'apic_access_addr',
  'virtual_apic_page_addr',
  'posted_intr_desc_addr',
] as const;
type AddressField = (typeof addressFields)[number];

/** Fields of struct nested_vmx that hold a page of L1 mapped. */
export const mapFields = [
  'apic_access_page_map',
  'virtual_apic_map',
  'pi_desc_map',
  'msr_bitmap_map',
] as const;

interface Kind {
  readonly name: string;
  readonly field: AddressField | 'msr_bitmap';
  readonly cache: CacheName;
  readonly map: (typeof mapFields)[number];
  readonly isUsed: (controls: Controls) => boolean;
}

const kinds: readonly Kind[] = [
  {
    name: 'APIC access',
    field: 'apic_access_addr',
    cache: 'apic_access_page_cache',
    map: 'apic_access_page_map',
    isUsed: ({ cpu_based_vm_exec_control: cpu, secondary_vm_exec_control: secondary }) =>
      cpu.has(cpuControl.SECONDARY) && secondary.has(secondaryControl.VIRTUALIZE_APIC_ACCESSES),
  },
  {
    name: 'virtual APIC',
    field: 'virtual_apic_page_addr',
    cache: 'virtual_apic_cache',
    map: 'virtual_apic_map',
    isUsed: ({ cpu_based_vm_exec_control: cpu }) => cpu.has(cpuControl.TPR_SHADOW),
  },
  {
    name: 'descriptor',
    field: 'posted_intr_desc_addr',
    cache: 'pi_desc_cache',
    map: 'pi_desc_map',
    isUsed: ({ pin_based_vm_exec_control: pin }) => pin.has(pinControl.POSTED_INTR),
  },
  {
    name: 'MSR bitmap',
    field: 'msr_bitmap',
    cache: 'msr_bitmap_cache',
    map: 'msr_bitmap_map',
    isUsed: ({ cpu_based_vm_exec_control: cpu }) => cpu.has(cpuControl.MSR_BITMAPS),
  },
];

/** How KVM keeps hold of a page: a cache that an invalidation reaches, or a map that pins it. */
export interface Held {
  readonly kind: 'cache' | 'map';
  /** of the field with the frame */
  readonly path: string;
  readonly text: string;
  readonly pfn: number;
  /** may its frame be used now? */
  readonly valid: boolean;
  readonly trouble: Trouble | undefined;
}

export interface L1Page {
  readonly name: string;
  readonly field: Kind['field'];
  /** does vmcs12 have the control that uses the page? */
  readonly wanted: boolean;
  /** does vmcs02 have it, so that the CPU goes by the address? */
  readonly used: boolean;
  readonly gpa: number;
  /** what vmcs02 has; −1 if no field of it names the page */
  readonly hpa: number;
  readonly pfn: number;
  readonly trouble: Trouble | undefined;
  readonly held: readonly Held[];
  /** what the primary page table maps, −1 for none */
  readonly mapped: number;
}

/** Has the guest of this vCPU used VMX? */
export const isHypervisor = ({ nested }: VcpuView): boolean =>
  nested.vmxon || nested.cached_vmcs12.revision_id !== 0;

export const runsL2 = (vcpu: VcpuView): boolean => vcpu.loaded_vmcs === loadedVmcs.VMCS02;

/** A cache of the machine, and whose it is. */
export interface Cache {
  readonly path: string;
  readonly owner: string;
  readonly name: CacheName;
  readonly gpc: GpcView;
}

const setOf = (path: string, owner: string, caches: Record<CacheName, GpcView>): Cache[] =>
  cacheNames.map((name) => ({ path: `${path}.${name}`, owner, name, gpc: caches[name] }));

/** The caches of a vCPU, or of the context that it uses instead. */
const cachesOfVcpu = (m: MachineView, vcpu: number): Cache[] => {
  const { caches, context } = m.vcpu[vcpu]!.nested;
  const shared = m.vm.nested_context[context];
  return shared === undefined
    ? setOf(`vcpu[${vcpu}].nested.caches`, `vcpu${vcpu}`, caches)
    : setOf(`vm.nested_context[${context}].caches`, `context ${context}`, shared.caches);
};

/** Every cache of the machine. */
export const allCaches = (m: MachineView): Cache[] => [
  ...m.vcpu.flatMap(({ nested }, v) =>
    setOf(`vcpu[${v}].nested.caches`, `vcpu${v}`, nested.caches),
  ),
  ...m.vm.nested_context.flatMap((context, c) =>
    context.used ? setOf(`vm.nested_context[${c}].caches`, `context ${c}`, context.caches) : [],
  ),
];

/** May the frame be used now: what kvm_gpc_check finds. */
export const isUsable = (m: MachineView, gpc: GpcView): boolean =>
  gpc.active && gpc.valid && gpc.generation === m.vm.memslots_generation;

const cacheText = (m: MachineView, gpc: GpcView): string => {
  const current = m.vm.memslots_generation;
  return [
    gpc.valid ? '✓' : 'INVALID',
    gpc.generation === current ? `gen ${current}` : `gen ${gpc.generation} of ${current}`,
    gpc.khva !== mappingKind.NONE && gpc.khva_pfn !== gpc.pfn ? `khva pfn ${gpc.khva_pfn}` : '',
  ]
    .filter((part) => part !== '')
    .join(' ');
};

const heldOf = (m: MachineView, vcpu: number, kind: Kind, mapped: number): Held[] => {
  const map = m.vcpu[vcpu]!.nested[kind.map];
  const cache = cachesOfVcpu(m, vcpu).find(({ name }) => name === kind.cache);
  const held: Held[] = [];
  if (cache?.gpc.active) {
    const { path, gpc } = cache;
    const valid = isUsable(m, gpc);
    const trouble = valid ? troubleOf(m, gpc.pfn, mapped) : undefined;
    const text = cacheText(m, gpc);
    held.push({ kind: 'cache', path: `${path}.pfn`, text, pfn: gpc.pfn, valid, trouble });
  }
  if (map.mapping !== mappingKind.NONE) {
    held.push({
      kind: 'map',
      path: `vcpu[${vcpu}].nested.${kind.map}.pfn`,
      text: map.pinned ? 'pinned' : 'not pinned',
      pfn: map.pfn,
      valid: true,
      trouble: troubleOf(m, map.pfn, mapped),
    });
  }
  return held;
};

/** The pages that the vmcs12 of a vCPU can name. */
export const l1PagesOf = (m: MachineView, vcpu: number): L1Page[] => {
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  return kinds.map((kind) => {
    const gpa = nested.cached_vmcs12[kind.field];
    const used = kind.isUsed(vmcs02);
    const hpa = kind.field === 'msr_bitmap' ? -1 : vmcs02[kind.field];
    const pfn = hpa < 0 ? -1 : frameOf(m, hpa);
    const mapped = mappedFrame(m, gfnOf(gpa));
    return {
      name: kind.name,
      field: kind.field,
      wanted: kind.isUsed(nested.cached_vmcs12),
      used,
      gpa,
      hpa,
      pfn,
      trouble: used ? troubleOf(m, pfn, mapped) : undefined,
      held: heldOf(m, vcpu, kind, mapped),
      mapped,
    };
  });
};

/** Do the places that name the frame agree? In a word, and in full. */
export interface Verdict {
  readonly kind: 'agree' | 'conflict' | 'waiting' | 'unused';
  readonly text: string;
}

const conflictText = (who: string, pfn: number, trouble: Trouble, mapped: number): string =>
  trouble === 'freed'
    ? `${who}: pfn ${pfn} was freed`
    : `${who}: pfn ${pfn}, not the page table's pfn ${mapped}`;

export const verdictOf = (page: L1Page, isLoaded: boolean): Verdict => {
  const { mapped } = page;
  const address = page.trouble && conflictText('vmcs02', page.pfn, page.trouble, mapped);
  const conflicts = [
    ...(address !== undefined && isLoaded ? [address] : []),
    ...page.held.flatMap((held) =>
      held.trouble ? [conflictText(held.kind, held.pfn, held.trouble, mapped)] : [],
    ),
  ];
  if (conflicts.length > 0) return { kind: 'conflict', text: conflicts.join('; ') };
  // Nobody goes by it: it is written again before L2 runs.
  if (address !== undefined) return { kind: 'waiting', text: `${address}; it is not loaded` };
  const holder = page.held.find(({ valid }) => !valid);
  if (holder) return { kind: 'waiting', text: 'cache to be refreshed before it is used' };
  if (!page.wanted) return { kind: 'unused', text: 'not used' };
  if (mapped < 0) return { kind: 'waiting', text: 'the page table maps no frame now' };
  if (isLoaded && !page.used) return { kind: 'waiting', text: 'vmcs02 runs without it' };
  return { kind: 'agree', text: page.used ? 'agree' : 'not in vmcs02 yet' };
};

export const noAddress = (gpa: number): boolean => gpa === INVALID_GPA;
