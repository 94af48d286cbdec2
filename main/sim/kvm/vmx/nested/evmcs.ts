/**
 * Enlightened VMCSs: L1 keeps the VMCS of its L2 as plain memory, of which the VP-assist page tells
 * KVM. VMLAUNCH and VMRESUME copy it to vmcs12, and what has become of it goes back for L1.
 */
import { readFrame, writeFrame } from '../../../hw/memory.ts';
import { EVMPTR_MAP_PENDING, INVALID_GPA } from '../../../state/addresses.ts';
import {
  ENLIGHTENED_MSR_BITMAP,
  EVMCS_CLEAN_ALL,
  type EvmcsField,
  evmcsClean,
  evmcsFields,
  evmcsOffset,
  KVM_EVMCS_VERSION,
  vpAssist,
} from '../../../state/evmcs.ts';
import { gpcOf } from '../../../state/gpc.ts';
import { PAGE_SIZE } from '../../../state/machine.ts';
import { VMCS12_REVISION, vmcs12Bytes } from '../../../state/vmcs12.ts';
import { type Body, baseOf, kvm, type Machine } from '../../../steps.ts';
import { kvm_vcpu_map, kvm_vcpu_unmap } from '../../host_map.ts';
import { cacheOf, nested_gpc_lock, usesCaches, usesEvmcsCache } from './caches.ts';
import { vmx_nested_context_clear, vmx_nested_context_load } from './context.ts';
import { nested_lock_evmcs, nested_unlock_evmcs, noteEvmcsUse } from './l2_pages.ts';
import { readGuestWord } from './vmcs12.ts';
import { fieldValue, widthOf, writeField } from './vmcs12_fields.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** @kvm arch/x86/kvm/vmx/hyperv.h: enum nested_evmptrld_status */
export const evmptrld = { DISABLED: 0, SUCCEEDED: 1, VMFAIL: 2, ERROR: 3 } as const;

/** Does L1 use an enlightened VMCS, which KVM has? @kvm arch/x86/kvm/vmx/hyperv.h */
export const nested_vmx_is_evmptr12_valid = (m: Machine, vcpu: number): boolean => {
  const { hv_evmcs_vmptr: vmptr } = m.vcpu[vcpu]!.nested;
  return vmptr !== INVALID_GPA && vmptr !== EVMPTR_MAP_PENDING;
};

/** Nothing has changed since the last merge of the MSR bitmap, and L1 is one that would say so. */
export const isMsrBitmapClean = (m: Machine, vcpu: number): boolean => {
  const { force_msr_bitmap_recalc, hv_msr_bitmap, hv_clean_fields } = m.vcpu[vcpu]!.nested;
  return !force_msr_bitmap_recalc && hv_msr_bitmap && hv_clean_fields.has(evmcsClean.MSR_BITMAP);
};

/**
 * What the VP-assist page names; all ones for nothing.
 * @omits bits 63:32 of the address
 */
export const nested_get_evmptr = kvm(
  'arch/x86/kvm/vmx/hyperv.c',
  function* nested_get_evmptr(m: Machine, vcpu: number) {
    const { hv_vp_assist_page: msr } = m.vcpu[vcpu]!.nested;
    if (msr % 2 === 0) return INVALID_GPA;
    const page = msr - 1;
    const enlightened: number = yield* readGuestWord(m, page + vpAssist.ENLIGHTEN_VMENTRY);
    if ((enlightened & 0xff) === 0 || enlightened < 0) return INVALID_GPA;
    const vmptr: number = yield* readGuestWord(m, page + vpAssist.CURRENT_NESTED_VMCS);
    return vmptr < 0 ? INVALID_GPA : vmptr;
  },
);

/** KVM has none any more. */
export const nested_release_evmcs = kvm(
  file,
  function* nested_release_evmcs(m: Machine, vcpu: number) {
    const { nested } = m.vcpu[vcpu]!;
    if (nested.hv_evmcs_vmptr === INVALID_GPA) return;
    if (!usesEvmcsCache(m)) yield* kvm_vcpu_unmap(m, vcpu, nested.hv_evmcs_map);
    yield m.step('hv_evmcs_vmptr = none');
    nested.hv_evmcs_vmptr = INVALID_GPA;
    nested.hv_clean_fields.clearAll();
    nested.hv_msr_bitmap = false;
  },
);

/** The frame of the page, mapped anew if it is another; with a cache its lock is held. */
function* holdEvmcs(m: Machine, vcpu: number, gpa: number, changed: boolean): Body<number> {
  const { nested } = m.vcpu[vcpu]!;
  if (changed && usesCaches(m)) {
    yield* vmx_nested_context_clear(m, vcpu, nested.hv_evmcs_vmptr);
    yield* vmx_nested_context_load(m, vcpu, gpa);
  }
  if (usesEvmcsCache(m)) {
    const id = cacheOf(m, vcpu, 'hv_evmcs_cache');
    const error: number = yield* nested_gpc_lock(m, vcpu, id, gpa);
    return error < 0 ? error : gpcOf(m, id).khva_pfn;
  }
  const { hv_evmcs_map: map } = nested;
  if (!changed) return map.pfn;
  yield* nested_release_evmcs(m, vcpu);
  const wanted = { gfn: Math.floor(gpa / PAGE_SIZE), writable: true };
  const error: number = yield* kvm_vcpu_map(m, vcpu, map, wanted);
  return error < 0 ? error : map.pfn;
}

/** vmcs12 has fields that the page has not: nothing of another L2 may be left in them. */
const emptyVmcs12 = (m: Machine, vcpu: number): void => {
  const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
  const first = baseOf(vmcs12);
  for (let word = 0; word < vmcs12Bytes / 4; word++) {
    if (m.arena.load(first + word) !== 0) m.arena.store(first + word, 0);
  }
  vmcs12.revision_id = VMCS12_REVISION;
};

/** Another page is current from now on; false if it is no VMCS. */
function* adoptEvmcs(
  m: Machine,
  vcpu: number,
  pfn: number,
  { gpa, fromLaunch }: { readonly gpa: number; readonly fromLaunch: boolean },
): Body<boolean> {
  const { nested } = m.vcpu[vcpu]!;
  yield m.step('another enlightened VMCS: is its version known?');
  nested.current_vmptr = INVALID_GPA;
  const version = readFrame(m, pfn, 0);
  if (version !== KVM_EVMCS_VERSION && version !== VMCS12_REVISION) return false;
  nested.hv_evmcs_vmptr = gpa;
  if (fromLaunch) emptyVmcs12(m, vcpu);
  return true;
}

const isCopied = ({ clean }: EvmcsField, cleanFields: number): boolean =>
  clean !== undefined && (clean < 0 || (cleanFields & (1 << clean)) === 0);

/** What L1 has changed. */
const copy_enlightened_to_vmcs12 = kvm(
  file,
  function* copy_enlightened_to_vmcs12(m: Machine, vcpu: number, pfn: number, clean: number) {
    yield m.step('copy from pfn {pfn} to vmcs12 what is not among the clean fields', pfn, clean);
    noteEvmcsUse(m, vcpu);
    for (const field of evmcsFields) {
      if (!isCopied(field, clean)) continue;
      const { encoding, offset } = field;
      const low = readFrame(m, pfn, offset);
      const high = widthOf(encoding) === 64 ? readFrame(m, pfn, offset + 4) : 0;
      writeField(m, vcpu, encoding, { low, high });
    }
  },
);

/** What VMLAUNCH or VMRESUME makes of the page that L1 has named; the page is held. */
function* takeEvmcs(
  m: Machine,
  vcpu: number,
  pfn: number,
  { fromLaunch, changed }: { readonly fromLaunch: boolean; readonly changed: boolean },
): Body<void> {
  const { nested } = m.vcpu[vcpu]!;
  yield m.step('read the clean fields; behind VMLAUNCH, or of another page, none is');
  noteEvmcsUse(m, vcpu);
  if (fromLaunch || changed) {
    const rest = readFrame(m, pfn, evmcsOffset.CLEAN_FIELDS) & ~EVMCS_CLEAN_ALL;
    writeFrame(m, pfn, evmcsOffset.CLEAN_FIELDS, rest >>> 0);
    nested.force_msr_bitmap_recalc = true;
  }
  nested.hv_clean_fields.setWord(0, readFrame(m, pfn, evmcsOffset.CLEAN_FIELDS));
  const enlightenments = readFrame(m, pfn, evmcsOffset.ENLIGHTENMENTS);
  nested.hv_msr_bitmap = (enlightenments & ENLIGHTENED_MSR_BITMAP) !== 0;
}

/** The lock of the cache goes; what is mapped stays so. */
function* letGo(m: Machine, vcpu: number): Body<void> {
  if (usesEvmcsCache(m)) yield* nested_unlock_evmcs(m, vcpu);
}

/**
 * What VMPTRLD is for other VMCSs: part of VMLAUNCH and VMRESUME, or, with `restored`, of the
 * handler of GET_NESTED_STATE_PAGES. There vmcs12 is newer than the page. One of `evmptrld`.
 */
export const nested_vmx_handle_enlightened_vmptrld = kvm(
  file,
  function* nested_vmx_handle_enlightened_vmptrld(
    m: Machine,
    vcpu: number,
    fromLaunch: boolean,
    restored: boolean,
  ) {
    const { nested } = m.vcpu[vcpu]!;
    if (!nested.enlightened_vmcs_enabled) return evmptrld.DISABLED as number;
    const gpa: number = yield* nested_get_evmptr(m, vcpu);
    if (gpa === INVALID_GPA) {
      yield* nested_release_evmcs(m, vcpu);
      return evmptrld.DISABLED;
    }
    const changed = gpa !== nested.hv_evmcs_vmptr;
    const pfn: number = yield* holdEvmcs(m, vcpu, gpa, changed);
    if (pfn < 0) {
      yield* nested_release_evmcs(m, vcpu);
      return evmptrld.ERROR;
    }
    if (changed && !(yield* adoptEvmcs(m, vcpu, pfn, { gpa, fromLaunch }))) {
      yield* letGo(m, vcpu);
      yield* nested_release_evmcs(m, vcpu);
      return evmptrld.VMFAIL;
    }
    yield* takeEvmcs(m, vcpu, pfn, { fromLaunch, changed });
    if (!restored) {
      yield* copy_enlightened_to_vmcs12(m, vcpu, pfn, nested.hv_clean_fields.word(0));
      // The page has no launch state.
      nested.cached_vmcs12.launch_state = fromLaunch ? 0 : 1;
    }
    yield* letGo(m, vcpu);
    return evmptrld.SUCCEEDED;
  },
);

/** After a restore: false if what L1 names cannot be used. */
export const nested_get_evmcs_page = kvm(
  file,
  function* nested_get_evmcs_page(m: Machine, vcpu: number) {
    const { nested } = m.vcpu[vcpu]!;
    if (nested.hv_evmcs_vmptr !== EVMPTR_MAP_PENDING) return true;
    const status: number = yield* nested_vmx_handle_enlightened_vmptrld(m, vcpu, false, true);
    if (status === evmptrld.VMFAIL || status === evmptrld.ERROR) return false;
    if (status === evmptrld.SUCCEEDED) nested.need_vmcs12_to_shadow_sync = true;
    return true;
  },
);

/** Everything in the page that KVM has copied is clean until L1 says otherwise. */
const setClean = (m: Machine, pfn: number): void => {
  const fields = readFrame(m, pfn, evmcsOffset.CLEAN_FIELDS);
  writeFrame(m, pfn, evmcsOffset.CLEAN_FIELDS, (fields | EVMCS_CLEAN_ALL) >>> 0);
};

/** The entry is prepared. @kvm arch/x86/kvm/vmx/nested.c: prepare_vmcs02 */
export function* markClean(m: Machine, vcpu: number): Body<void> {
  if (!nested_vmx_is_evmptr12_valid(m, vcpu)) return;
  const pfn: number = yield* nested_lock_evmcs(m, vcpu);
  if (pfn < 0) return;
  yield m.step('all fields of the enlightened VMCS are clean');
  noteEvmcsUse(m, vcpu);
  setClean(m, pfn);
  yield* letGo(m, vcpu);
}

const copy_vmcs12_to_enlightened = kvm(
  file,
  function* copy_vmcs12_to_enlightened(m: Machine, vcpu: number, pfn: number) {
    yield m.step('copy to pfn {pfn} what L1 wants to know of vmcs12', pfn);
    noteEvmcsUse(m, vcpu);
    for (const { encoding, offset, toL1 } of evmcsFields) {
      if (!toL1) continue;
      const { low, high } = fieldValue(m, vcpu, encoding);
      writeFrame(m, pfn, offset, low);
      if (widthOf(encoding) === 64) writeFrame(m, pfn, offset + 4, high);
    }
  },
);

/** Before L1 runs: it finds in its page what vmcs12 says. */
export const nested_sync_vmcs12_to_shadow = kvm(
  file,
  function* nested_sync_vmcs12_to_shadow(m: Machine, vcpu: number) {
    const { nested } = m.vcpu[vcpu]!;
    nested.need_vmcs12_to_shadow_sync = false;
    if (!nested_vmx_is_evmptr12_valid(m, vcpu)) return;
    const pfn: number = yield* nested_lock_evmcs(m, vcpu);
    if (pfn < 0) return;
    yield* copy_vmcs12_to_enlightened(m, vcpu, pfn);
    setClean(m, pfn);
    yield* letGo(m, vcpu);
  },
);

/** Saving: what L1 has written since its last entry, whatever it calls clean. */
export function* refreshVmcs12(m: Machine, vcpu: number): Body<void> {
  const { nested } = m.vcpu[vcpu]!;
  if (nested.need_vmcs12_to_shadow_sync || !nested_vmx_is_evmptr12_valid(m, vcpu)) return;
  const pfn: number = yield* nested_lock_evmcs(m, vcpu);
  if (pfn < 0) return;
  yield* copy_enlightened_to_vmcs12(m, vcpu, pfn, 0);
  yield* letGo(m, vcpu);
}

/** The context of which VMCS does the vCPU have (`gpc-v4`)? @kvm nested.c: nested_vmptr */
export const nested_vmptr = (m: Machine, vcpu: number): number => {
  const { hv_evmcs_vmptr, current_vmptr } = m.vcpu[vcpu]!.nested;
  return usesCaches(m) && nested_vmx_is_evmptr12_valid(m, vcpu) ? hv_evmcs_vmptr : current_vmptr;
};
