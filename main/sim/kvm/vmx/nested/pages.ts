/** L1's pages that vmcs02 points to: APIC-access page, virtual-APIC page, descriptor. */
import { pinOn, primaryOn, secondaryOn } from '../../../hw/vmcs.ts';
import { INVALID_GPA } from '../../../state/addresses.ts';

import { type CacheName, gpcOf } from '../../../state/gpc.ts';
import { PAGE_SIZE, pfn_to_hpa } from '../../../state/machine.ts';
import { mappingKind } from '../../../state/nested.ts';
import { kvmExit } from '../../../state/vcpu.ts';
import { cpuControl, pinControl, secondaryControl } from '../../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { kvm_vcpu_mark_page_dirty } from '../../dirty_log.ts';
import { type HostMapView, kvm_vcpu_map, kvm_vcpu_unmap } from '../../host_map.ts';
import { kvm_gpc_deactivate, kvm_gpc_invalid } from '../../pfncache.ts';
import { cacheOf, nested_gpc_hpa, usesCaches } from './caches.ts';
import { nested_get_evmcs_page } from './evmcs.ts';
import { nested_vmx_prepare_msr_bitmap } from './msr_bitmap.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

type Vmcs12View = Machine['vcpu'][number]['nested']['cached_vmcs12'];

/** A page of L1 that vmcs12 can name: its control, its address, and how KVM has hold of it. */
interface L1Page {
  readonly cache: CacheName;
  readonly map: 'apic_access_page_map' | 'virtual_apic_map' | 'pi_desc_map';
  readonly isUsed: (vmcs12: Vmcs12View) => boolean;
  readonly gpa: (vmcs12: Vmcs12View) => number;
}

const apicAccessPage: L1Page = {
  cache: 'apic_access_page_cache',
  map: 'apic_access_page_map',
  isUsed: (v) => secondaryOn(v, secondaryControl.VIRTUALIZE_APIC_ACCESSES),
  gpa: (v) => v.apic_access_addr,
};
const virtualApicPage: L1Page = {
  cache: 'virtual_apic_cache',
  map: 'virtual_apic_map',
  isUsed: (v) => primaryOn(v, cpuControl.TPR_SHADOW),
  gpa: (v) => v.virtual_apic_page_addr,
};
const descriptorPage: L1Page = {
  cache: 'pi_desc_cache',
  map: 'pi_desc_map',
  isUsed: (v) => pinOn(v, pinControl.POSTED_INTR),
  gpa: (v) => v.posted_intr_desc_addr,
};
const l1Pages: readonly L1Page[] = [apicAccessPage, virtualApicPage, descriptorPage];

const mapOf = (m: Machine, vcpu: number, page: L1Page): HostMapView =>
  m.vcpu[vcpu]!.nested[page.map];

const isMapped = (m: Machine, vcpu: number, page: L1Page): boolean =>
  mapOf(m, vcpu, page).mapping !== mappingKind.NONE;

/**
 * Host-physical address of the page, mapped or cached from now on; a negative error without one.
 */
function* hpaOf(m: Machine, vcpu: number, page: L1Page): Body<number> {
  const gpa = page.gpa(m.vcpu[vcpu]!.nested.cached_vmcs12);
  const gfn = Math.floor(gpa / PAGE_SIZE);
  if (usesCaches(m)) {
    return yield* nested_gpc_hpa(m, vcpu, cacheOf(m, vcpu, page.cache), gfn * PAGE_SIZE);
  }
  const map = mapOf(m, vcpu, page);
  const error: number = yield* kvm_vcpu_map(m, vcpu, map, { gfn, writable: true });
  return error < 0 ? error : pfn_to_hpa(map.pfn);
}

/** What L1 wants cannot be done without the page: user space learns of it. */
function* loadApicAccessPage(m: Machine, vcpu: number): Body<boolean> {
  const hpa: number = yield* hpaOf(m, vcpu, apicAccessPage);
  if (hpa < 0) {
    yield m.step('no memory at the APIC-access address: KVM_EXIT_INTERNAL_ERROR');
    m.vcpu[vcpu]!.exit_reason = kvmExit.INTERNAL_ERROR;
    return false;
  }
  yield m.step('VMWRITE APIC_ACCESS_ADDR');
  m.vcpu[vcpu]!.vmcs02.apic_access_addr = hpa;
  return true;
}

/** Does every access of L2 to CR8 exit, so that the CPU never looks at the shadow? */
const shadowIsIdle = (v: Vmcs12View): boolean =>
  primaryOn(v, cpuControl.CR8_LOAD) &&
  primaryOn(v, cpuControl.CR8_STORE) &&
  !secondaryOn(v, secondaryControl.VIRTUALIZE_APIC_ACCESSES);

function* loadVirtualApicPage(m: Machine, vcpu: number): Body<void> {
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  const { cpu_based_vm_exec_control: cpu } = vmcs02;
  const hpa: number = yield* hpaOf(m, vcpu, virtualApicPage);
  if (hpa >= 0) {
    yield m.step('VMWRITE VIRTUAL_APIC_PAGE_ADDR');
    vmcs02.virtual_apic_page_addr = hpa;
    if (m.on('reget-restores-controls')) cpu.set(cpuControl.TPR_SHADOW);
  } else if (shadowIsIdle(nested.cached_vmcs12)) {
    yield m.step('no memory at the virtual-APIC address: clear "use TPR shadow"');
    cpu.clear(cpuControl.TPR_SHADOW);
  } else {
    yield m.step('no memory at the virtual-APIC address: VMWRITE what makes the entry fail');
    vmcs02.virtual_apic_page_addr = INVALID_GPA;
  }
}

/** Without a descriptor the error waits until somebody needs it. */
function* loadDescriptor(m: Machine, vcpu: number): Body<void> {
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  const { pin_based_vm_exec_control: pin } = vmcs02;
  const hpa: number = yield* hpaOf(m, vcpu, descriptorPage);
  if (hpa < 0) {
    yield m.step('no memory for the descriptor: clear "process posted interrupts"');
    pin.clear(pinControl.POSTED_INTR);
    return;
  }
  yield m.step('VMWRITE POSTED_INTR_DESC_ADDR');
  nested.pi_desc_offset = nested.cached_vmcs12.posted_intr_desc_addr % PAGE_SIZE;
  vmcs02.posted_intr_desc_addr = hpa + nested.pi_desc_offset;
  if (m.on('reget-restores-controls')) pin.set(pinControl.POSTED_INTR);
}

function* loadMsrBitmap(m: Machine, vcpu: number): Body<void> {
  const { cpu_based_vm_exec_control: cpu } = m.vcpu[vcpu]!.vmcs02;
  const merged: boolean = yield* nested_vmx_prepare_msr_bitmap(m, vcpu);
  yield m.step('VMWRITE "use MSR bitmaps" of vmcs02');
  if (merged) cpu.set(cpuControl.MSR_BITMAPS);
  else cpu.clear(cpuControl.MSR_BITMAPS);
}

/** What an earlier vmcs12 used would stop the entry once it is invalid; nothing would mend it. */
function* giveUpUnused(m: Machine, vcpu: number): Body<void> {
  if (!usesCaches(m) || !m.on('gpc-deactivate-unused')) return;
  const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
  for (const page of l1Pages) {
    const id = cacheOf(m, vcpu, page.cache);
    if (id >= 0 && !page.isUsed(vmcs12)) yield* kvm_gpc_deactivate(m, id);
  }
}

/**
 * Translates what vmcs12 points to and writes vmcs02, which is loaded; false: internal error.
 * @omits that PDPTRs are loaded again
 */
export const nested_get_vmcs12_pages = kvm(
  file,
  function* nested_get_vmcs12_pages(m: Machine, vcpu: number) {
    const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
    yield m.step('which pages of L1 does vmcs12 use?');
    yield* giveUpUnused(m, vcpu);
    if (apicAccessPage.isUsed(vmcs12) && !(yield* loadApicAccessPage(m, vcpu))) return false;
    if (virtualApicPage.isUsed(vmcs12)) yield* loadVirtualApicPage(m, vcpu);
    if (descriptorPage.isUsed(vmcs12)) yield* loadDescriptor(m, vcpu);
    yield* loadMsrBitmap(m, vcpu);
    return true;
  },
);

/** Handler of GET_NESTED_STATE_PAGES; false: user space has to be told. */
export const vmx_get_nested_state_pages = kvm(
  file,
  function* vmx_get_nested_state_pages(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    target.stat.get_nested_state_pages++;
    const mapped: boolean = yield* nested_get_evmcs_page(m, vcpu);
    if (!mapped) {
      yield m.step('no enlightened VMCS where L1 says: KVM_EXIT_INTERNAL_ERROR');
      target.exit_reason = kvmExit.INTERNAL_ERROR;
      return false;
    }
    if (!target.guest_mode) return true;
    return yield* nested_get_vmcs12_pages(m, vcpu);
  },
);

/** A cache whose address the CPU would use, taken from memslots that are no longer the current. */
const isOutdated = (m: Machine, vcpu: number, page: L1Page, id: number): boolean =>
  m.on('gpc-generation-in-final-check') &&
  page.isUsed(m.vcpu[vcpu]!.nested.cached_vmcs12) &&
  gpcOf(m, id).active &&
  gpcOf(m, id).generation !== m.vm.memslots_generation;

/**
 * Was a page of L1 taken away since vmcs02 was written? The vCPU is in IN_GUEST_MODE: whoever
 * invalidates a cache from now on makes it leave again, so that no lock is needed.
 */
export const vmx_is_nested_state_invalid = (m: Machine, vcpu: number): boolean => {
  if (!usesCaches(m)) return false;
  for (const page of l1Pages) {
    const id = cacheOf(m, vcpu, page.cache);
    if (id >= 0 && (kvm_gpc_invalid(m, id) || isOutdated(m, vcpu, page, id))) return true;
  }
  return false;
};

/** Before v7.0: the addresses in vmcs12, but for the APIC-access page. */
const isMarkedByAddress = (page: L1Page, v: Vmcs12View): boolean =>
  page !== apicAccessPage && page.isUsed(v);

/**
 * What the CPU may have written through vmcs02, or KVM in its place, is dirty: no write protection
 * of the EPT has seen it.
 */
export const nested_mark_vmcs12_pages_dirty = kvm(
  file,
  function* nested_mark_vmcs12_pages_dirty(m: Machine, vcpu: number) {
    if (!m.on('dirty-vmcs12-pages')) return;
    const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
    const byMap = m.on('dirty-mapped-pages') && !usesCaches(m);
    for (const page of l1Pages) {
      const marked = byMap ? isMapped(m, vcpu, page) : isMarkedByAddress(page, vmcs12);
      if (!marked) continue;
      const gfn = byMap ? mapOf(m, vcpu, page).gfn : Math.floor(page.gpa(vmcs12) / PAGE_SIZE);
      yield m.step('mark gfn {gfn} dirty', gfn);
      kvm_vcpu_mark_page_dirty(m, gfn);
    }
  },
);

/** Unmaps what is mapped of L1's pages. What is cached stays. */
export const nested_put_vmcs12_pages = kvm(
  file,
  function* nested_put_vmcs12_pages(m: Machine, vcpu: number) {
    for (const page of l1Pages) yield* kvm_vcpu_unmap(m, vcpu, mapOf(m, vcpu, page));
  },
);

/** An exit to L1 ends the use of the pages: mapped ones go, of cached ones the writes are noted. */
export function* endUseOfPages(m: Machine, vcpu: number): Body<void> {
  if (usesCaches(m)) yield* nested_mark_vmcs12_pages_dirty(m, vcpu);
  else yield* nested_put_vmcs12_pages(m, vcpu);
}
