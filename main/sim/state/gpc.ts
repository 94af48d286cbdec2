/** Every gfn_to_pfn_cache of the machine by one number, by which lists and locks name it. */
import type { MachineView } from './machine.ts';
import { cacheNames } from './nested.ts';

export type CacheName = (typeof cacheNames)[number];
export type GpcView = MachineView['vcpu'][number]['nested']['caches'][CacheName];
type Owners = Pick<MachineView, 'vcpu' | 'vm'>;

/** Number of a cache: those embedded in each vCPU come first, then those of the contexts. */
export const gpcId = (
  m: Owners,
  { vcpu, context }: { readonly vcpu: number; readonly context: number },
  name: CacheName,
): number => {
  const set = context < 0 ? vcpu : m.vcpu.length + context;
  return set * cacheNames.length + cacheNames.indexOf(name);
};

export const gpcCount = (m: Owners): number =>
  (m.vcpu.length + m.vm.nested_context.length) * cacheNames.length;

export const gpcOf = (m: Owners, id: number): GpcView => {
  const set = Math.floor(id / cacheNames.length);
  const name = cacheNames[id % cacheNames.length]!;
  const embedded = m.vcpu[set];
  return embedded === undefined
    ? m.vm.nested_context[set - m.vcpu.length]!.caches[name]
    : embedded.nested.caches[name];
};

/** Where a cache is in the machine, as paths of fields say it. */
export const gpcPath = (m: Owners, id: number): string => {
  const set = Math.floor(id / cacheNames.length);
  const name = cacheNames[id % cacheNames.length]!;
  return set < m.vcpu.length
    ? `vcpu[${set}].nested.caches.${name}`
    : `vm.nested_context[${set - m.vcpu.length}].caches.${name}`;
};

/** The fields of every cache. */
export const gpcFields = (field: string): readonly string[] => [
  `vcpu[*].nested.caches.*.${field}`,
  `vm.nested_context[*].caches.*.${field}`,
];
