/**
 * Pages of L1 that KVM itself reads and writes for L2: the descriptor, the virtual-APIC page, the
 * enlightened VMCS.
 */
import { pteOf } from '../../../host/page_table.ts';
import type { CacheName } from '../../../state/gpc.ts';
import { mappingKind } from '../../../state/nested.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { gfn_to_memslot, hvaInSlot } from '../../mmu/mmu.ts';
import {
  cacheOf,
  nested_gpc_lock_if_active,
  nested_gpc_unlock,
  usesCaches,
  usesEvmcsCache,
} from './caches.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

type HostMap = Machine['vcpu'][number]['nested']['pi_desc_map'];

const frameOf = (map: HostMap): number => (map.mapping === mappingKind.NONE ? -1 : map.pfn);

function* lock(m: Machine, vcpu: number, name: CacheName): Body<number> {
  const id = cacheOf(m, vcpu, name);
  const pfn: number = yield* nested_gpc_lock_if_active(m, vcpu, id);
  if (pfn < 0 || m.on('gpc-use-under-lock')) return pfn;
  // Whoever migrates the page need not wait for the user of the mapping any more.
  yield* nested_gpc_unlock(m, id);
  m.vm.spec.unlocked_gpc_uses++;
  return pfn;
}

function* unlock(m: Machine, vcpu: number, name: CacheName): Body<void> {
  if (!usesCaches(m) || !m.on('gpc-use-under-lock')) return;
  yield* nested_gpc_unlock(m, cacheOf(m, vcpu, name));
}

/** The frame of the descriptor of L2, −1 without one. */
export const nested_lock_pi_desc = kvm(
  file,
  function* nested_lock_pi_desc(m: Machine, vcpu: number) {
    if (usesCaches(m)) return yield* lock(m, vcpu, 'pi_desc_cache');
    return frameOf(m.vcpu[vcpu]!.nested.pi_desc_map);
  },
);

export function* nested_unlock_pi_desc(m: Machine, vcpu: number): Body<void> {
  yield* unlock(m, vcpu, 'pi_desc_cache');
}

/** The frame of the virtual-APIC page of L2, −1 without one. */
export const nested_lock_vapic = kvm(file, function* nested_lock_vapic(m: Machine, vcpu: number) {
  if (usesCaches(m)) return yield* lock(m, vcpu, 'virtual_apic_cache');
  return frameOf(m.vcpu[vcpu]!.nested.virtual_apic_map);
});

export function* nested_unlock_vapic(m: Machine, vcpu: number): Body<void> {
  yield* unlock(m, vcpu, 'virtual_apic_cache');
}

/**
 * Bookkeeping of the checks: KVM reads or writes the enlightened VMCS. What is mapped until L1
 * names another page may have become another page itself.
 */
export const noteEvmcsUse = (m: Machine, vcpu: number): void => {
  if (usesEvmcsCache(m)) return;
  const { gfn, pfn } = m.vcpu[vcpu]!.nested.hv_evmcs_map;
  const slot = gfn_to_memslot(m, gfn);
  const pte = slot < 0 ? undefined : m.pte[pteOf(m, hvaInSlot(m, slot, gfn))];
  if (pte?.pfn !== pfn) m.vm.spec.unlocked_gpc_uses++;
};

/** The frame of the enlightened VMCS, −1 without one. */
export const nested_lock_evmcs = kvm(file, function* nested_lock_evmcs(m: Machine, vcpu: number) {
  if (usesEvmcsCache(m)) return yield* lock(m, vcpu, 'hv_evmcs_cache');
  return frameOf(m.vcpu[vcpu]!.nested.hv_evmcs_map);
});

export function* nested_unlock_evmcs(m: Machine, vcpu: number): Body<void> {
  if (usesEvmcsCache(m)) yield* unlock(m, vcpu, 'hv_evmcs_cache');
}
