/** What KVM keeps of a vCPU whose guest is a hypervisor: struct nested_vmx, and its pages. */
import { bits, counter, flag, nested, oneOf, pfn, record, s32, u64 } from '../arena/fields.ts';
import { evmcsClean } from './evmcs.ts';
import { RwLock } from './locks.ts';
import { Hrtimer } from './timer.ts';
import { MsrBitmap } from './vmcs.ts';
import { Vmcs12 } from './vmcs12.ts';

/** How the kernel reaches the bytes of a frame. */
export const mappingKind = { NONE: 0, KMAP: 1, MEMREMAP: 2 } as const;

/** @kvm include/linux/kvm_types.h */
export const HostMap = record('kvm_host_map', 'struct kvm_host_map: a guest page that is mapped', {
  mapping: oneOf(
    mappingKind,
    'kmap for memory with a struct page, memremap without; NONE: unmapped',
  ),
  gfn: u64({ as: 'gfn' }, 'the guest frame'),
  pfn: pfn('the host frame'),
  pinned: flag('the frame is held by FOLL_PIN, or by a reference before v6.13'),
  writable: flag('unmapping marks the page dirty'),
});

/** @kvm include/linux/kvm_types.h */
export const Gpc = record('gfn_to_pfn_cache', 'struct gfn_to_pfn_cache: a mapping that is kept', {
  active: flag('the cache is in use: refreshed on demand'),
  valid: flag('pfn and mapping may be used; the MMU notifier clears it'),
  on_list: flag('on kvm->gpc_list, where the MMU notifier finds it'),
  gpa: u64({ as: 'gpa' }, 'guest-physical address; all ones: none'),
  uhva: u64('host virtual address in user space; 0: none'),
  generation: counter('memslots generation that uhva belongs to'),
  pfn: pfn('host frame; −1: KVM_PFN_ERR_FAULT'),
  khva: oneOf(mappingKind, 'how the page is mapped into the kernel; NONE: not'),
  khva_pfn: pfn('the frame that khva leads to'),
  vcpu: s32('the vCPU that uses the address in its VMCS and is kicked, −1: none'),
  lock: nested(RwLock, 'protects the cache; who uses khva holds it for read'),
  refresh_lock: s32('the actor that holds the mutex plus 1, 0 for none'),
});

/** The caches of one L2. @kvm arch/x86/kvm/vmx/vmx.h */
export const NestedCaches = record('nested_caches', 'the pages of L1 that vmcs02 or KVM use', {
  apic_access_page_cache: nested(Gpc, 'page of vmcs12.apic_access_addr'),
  virtual_apic_cache: nested(Gpc, 'page of vmcs12.virtual_apic_page_addr'),
  pi_desc_cache: nested(Gpc, 'page of vmcs12.posted_intr_desc_addr'),
  msr_bitmap_cache: nested(Gpc, 'page of vmcs12.msr_bitmap; only KVM reads it'),
  hv_evmcs_cache: nested(Gpc, 'page of the enlightened VMCS (evmcs-gpc); only KVM uses it'),
});
export const cacheNames = [
  'apic_access_page_cache',
  'virtual_apic_cache',
  'pi_desc_cache',
  'msr_bitmap_cache',
  'hv_evmcs_cache',
] as const satisfies readonly (keyof typeof NestedCaches.fields)[];

/** Contexts for each vCPU that the table of `gpc-v4` holds at most. */
export const contextsPerVcpu = 8;

/** @kvm v4 of the series, virt/kvm: struct kvm_nested_context */
export const NestedContext = record('nested_context', 'the caches of one vmcs12 (gpc-v4)', {
  used: flag('the context exists'),
  gpa: u64({ as: 'gpa' }, 'the vmcs12 that it belongs to'),
  vcpu: s32('the vCPU that it is attached to, −1: it waits on the LRU list'),
  released: counter('order of VMCLEARs: the lowest is reused first'),
  caches: nested(NestedCaches, 'its caches, active even while no vCPU has it'),
});

/** Registers of a level of guest that does not run. */
export const SavedGuest = record('saved_guest', 'registers of L1 while L2 runs', {
  pc: counter('the instruction that L1 goes on with'),
  rflags_if: flag('EFLAGS.IF'),
  in_service_program: counter(
    'return address of the interrupted program plus 1, 0: no handler runs',
  ),
});

/** @kvm arch/x86/kvm/vmx/vmx.h */
export const NestedVmx = record('nested_vmx', 'struct nested_vmx', {
  vmxon: flag('the vCPU is in VMX operation: INIT is blocked in root mode'),
  vmxon_ptr: u64({ as: 'gpa' }, 'L1 address of the VMXON region; all ones: none'),
  current_vmptr: u64({ as: 'gpa' }, 'L1 address of the current VMCS; all ones: none'),
  cached_vmcs12: nested(Vmcs12, 'KVM works on this copy; only the thread of the vCPU may use it'),
  vmcs02_initialized: flag('the constant fields of vmcs02 have been written'),
  dirty_vmcs12: flag('L1 has changed fields that are rarely written to vmcs02'),
  force_msr_bitmap_recalc: flag('the MSR bitmap of vmcs02 must be merged again'),
  nested_run_pending: flag('a nested VM entry is committed and not executed yet'),
  mtf_pending: flag('a monitor trap flag exit is owed to L1'),
  posted_intr_nv: s32('notification vector that L1 set for the running L2, −1'),
  pi_pending: flag('a nested notification arrived and was not processed yet'),
  pi_desc_offset: counter('offset of the descriptor of L2 in its page'),
  l1_tpr_threshold: s32('TPR threshold that vmcs01 gets when L2 ends, −1 for none'),
  change_vmcs01_virtual_apic_mode: flag(
    'the APIC mode changed while L2 ran: vmcs01 follows when L2 ends (removed in k7.0)',
  ),
  reload_vmcs01_apic_access_page: flag(
    'APIC_PAGE_RELOAD came while L2 ran: it is made again when L2 ends (removed in k7.0)',
  ),
  update_vmcs01_apicv_status: flag(
    'apicv_active changed while L2 ran: vmcs01 follows when L2 ends (removed in k7.0)',
  ),
  update_vmcs01_hwapic_isr: flag(
    'ISR changed while L2 ran: SVI of vmcs01 follows when L2 ends (removed in k7.0)',
  ),
  preemption_timer: nested(Hrtimer, 'emulates the VMX preemption timer of L2'),
  preemption_timer_expired: flag('the emulated VMX preemption timer of L2 has run out'),
  vpid02: counter('VPID of vmcs02'),
  smm_vmxon: flag('VMX operation to go back to with RSM'),
  smm_guest_mode: flag('RSM goes back to L2'),
  enlightened_vmcs_enabled: flag('KVM_CAP_HYPERV_ENLIGHTENED_VMCS: L1 may use one'),
  hv_evmcs_vmptr: u64(
    { as: 'gpa' },
    'enlightened VMCS; all ones: none; 0x1ffffffffffffe: EVMPTR_MAP_PENDING',
  ),
  hv_vp_assist_page: u64(
    { as: 'gpa' },
    'HV_X64_MSR_VP_ASSIST_PAGE: where L1 names its enlightened VMCS; bit 0: enabled',
  ),
  hv_clean_fields: bits(32, { as: evmcsClean }, 'groups of fields that L1 has not changed'),
  hv_msr_bitmap: flag('L1 says when it has changed its MSR bitmap'),
  need_vmcs12_to_shadow_sync: flag('the enlightened VMCS is older than vmcs12'),
  hv_evmcs_map: nested(HostMap, 'page of the enlightened VMCS (without evmcs-gpc)'),
  apic_access_page_map: nested(HostMap, 'page of vmcs12.apic_access_addr (before gpc)'),
  virtual_apic_map: nested(HostMap, 'page of vmcs12.virtual_apic_page_addr (before gpc)'),
  pi_desc_map: nested(HostMap, 'page of vmcs12.posted_intr_desc_addr (before gpc)'),
  msr_bitmap_map: nested(HostMap, 'page of vmcs12.msr_bitmap while it is merged (before gpc)'),
  caches: nested(NestedCaches, 'the caches of gpc-v1'),
  context: s32('context of gpc-v4 whose caches are used, −1: the ones here'),
  msr_bitmap: nested(MsrBitmap, 'which x2APIC MSRs exit while L2 runs'),
  l2_in_service_program: counter(
    'return address of the program of L2 that an interrupt broke off plus 1, 0: no handler runs',
  ),
  l1: nested(SavedGuest, 'L1 while L2 runs'),
});
