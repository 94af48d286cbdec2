/** kvm_host_map: a page of the guest that KVM maps for a while, and whose frame it holds. */
import { get_page, pin_page, put_page, unpin_user_page } from '../host/frames.ts';
import { type Hold, hva_to_pfn, PFN_ERR, pteOf } from '../host/page_table.ts';
import { mappingKind } from '../state/nested.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { kvm_vcpu_mark_page_dirty } from './dirty_log.ts';
import { EINVAL } from './errno.ts';
import { gfn_to_memslot, hvaInSlot } from './mmu/mmu.ts';

const file = 'virt/kvm/kvm_main.c';

export type HostMapView = Machine['vcpu'][number]['nested']['virtual_apic_map'];

/** What kvm_vcpu_map is asked for. */
interface Wanted {
  readonly gfn: number;
  /** unmapping marks the page dirty */
  readonly writable: boolean;
}

/** FOLL_PIN, FOLL_GET, or nothing: the frame is as free to go as if nobody used it. */
const holds: Readonly<Record<string, Hold>> = {
  on: pin_page,
  reference: get_page,
  off: () => undefined,
};

/** The frame of a guest page, held; PFN_ERR if there is none, or none that can be held. */
const kvm_follow_pfn = kvm(file, function* kvm_follow_pfn(m: Machine, gfn: number) {
  yield m.step('find the memslot of gfn {gfn}', gfn);
  const slot = gfn_to_memslot(m, gfn);
  if (slot < 0 || m.vm.memslot[slot]!.invalid) return PFN_ERR;
  const hva = hvaInSlot(m, slot, gfn);
  // Nothing could hold such a frame: its owner may take it back while the CPU still writes to it.
  if (m.pte[pteOf(m, hva)]?.pfnmap === true && !m.on('allow_unsafe_mappings')) return PFN_ERR;
  return yield* hva_to_pfn(m, hva, holds[m.switch('hostmap-pin')]);
});

/** Makes the bytes of the frame reachable: what has no struct page is mapped anew every time. */
function* mapFrame(m: Machine, vcpu: number, map: HostMapView): Body<void> {
  const { stat } = m.vcpu[vcpu]!;
  const { pfn } = map;
  if (m.frame[pfn]!.has_struct_page) {
    yield m.step('kmap pfn {pfn}', pfn);
    stat.hostmap_kmap++;
    map.mapping = mappingKind.KMAP;
    return;
  }
  yield m.step('memremap pfn {pfn}, write-back', pfn);
  stat.hostmap_memremap++;
  map.mapping = mappingKind.MEMREMAP;
}

/**
 * Maps a page; 0, or why it cannot be. What the record held before is forgotten, mapped or not.
 * @omits that kmap and memremap fail
 */
export const kvm_vcpu_map = kvm(
  file,
  function* __kvm_vcpu_map(m: Machine, vcpu: number, map: HostMapView, wanted: Wanted) {
    yield m.step('clear the map, whether or not it is in use; gfn {gfn}', wanted.gfn);
    map.mapping = mappingKind.NONE;
    map.pinned = false;
    map.gfn = wanted.gfn;
    map.writable = wanted.writable;
    const pfn: number = yield* kvm_follow_pfn(m, wanted.gfn);
    map.pfn = pfn;
    if (pfn < 0) return -EINVAL;
    map.pinned = m.frame[pfn]!.has_struct_page && m.switch('hostmap-pin') !== 'off';
    if (map.pinned && m.on('hostmap-pin')) m.vcpu[vcpu]!.stat.hostmap_pins++;
    yield* mapFrame(m, vcpu, map);
    return 0;
  },
);

/** The frame may go and move again; what was mapped for writing is taken as written to. */
function* letGo(m: Machine, map: HostMapView): Body<void> {
  const frame = m.frame[map.pfn]!;
  yield m.step('set the page dirty and accessed; unpin pfn {pfn}', map.pfn);
  if (map.writable) frame.dirty = true;
  frame.accessed = true;
  if (m.on('hostmap-pin')) unpin_user_page(m, map.pfn);
  else put_page(m, map.pfn);
}

/** Unmaps it, if it is mapped. */
export const kvm_vcpu_unmap = kvm(
  file,
  function* kvm_vcpu_unmap(m: Machine, vcpu: number, map: HostMapView) {
    if (map.mapping === mappingKind.NONE) return;
    const { stat } = m.vcpu[vcpu]!;
    if (map.mapping === mappingKind.KMAP) {
      yield m.step('kunmap pfn {pfn}', map.pfn);
      stat.hostmap_kunmap++;
    } else {
      yield m.step('memunmap pfn {pfn}', map.pfn);
      stat.hostmap_memunmap++;
    }
    if (map.writable) {
      yield m.step('mark gfn {gfn} dirty', map.gfn);
      kvm_vcpu_mark_page_dirty(m, map.gfn);
    }
    if (map.pinned) yield* letGo(m, map);
    map.mapping = mappingKind.NONE;
    map.pinned = false;
  },
);
