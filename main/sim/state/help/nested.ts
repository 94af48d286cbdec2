/** Help: what KVM keeps of a guest that is a hypervisor. */

import { Gpc, HostMap, NestedCaches, NestedContext, NestedVmx, SavedGuest } from '../nested.ts';
import { NestedState } from '../nested_state.ts';
import { HeldLocks } from '../vm.ts';
import { helpFor } from './form.ts';

const deferred = (setter: string): string =>
  `set by ${setter}, consumed by \`__nested_vmx_vmexit\``;

export const nestedHelp = [
  helpFor(
    NestedVmx,
    { source: 'struct nested_vmx, arch/x86/kvm/vmx/vmx.h' },
    {
      vmxon: {
        by:
          'set by `enter_vmx_operation`, cleared by `free_nested`; around SMM by `vmx_enter_smm` ' +
          'and `vmx_leave_smm`, and restored by `vmx_set_nested_state`',
        source: 'struct nested_vmx, arch/x86/kvm/vmx/vmx.h; SDM 24.7',
      },
      vmxon_ptr: 'set by `handle_vmxon` and `vmx_set_nested_state`, cleared by `free_nested`',
      current_vmptr:
        'set by `set_current_vmptr`; cleared by `nested_release_vmcs12`, `free_nested` and ' +
        '`nested_vmx_handle_enlightened_vmptrld`',
      vmcs02_initialized:
        'cleared by `enter_vmx_operation`, set by `prepare_vmcs02_early` ' +
        '(prepare_vmcs02_constant_state)',
      dirty_vmcs12:
        'set by `set_current_vmptr`, `vmx_set_nested_state` and `handle_vmwrite` of a field that ' +
        'is not shadowed; cleared by `prepare_vmcs02`',
      force_msr_bitmap_recalc:
        'set by `set_current_vmptr`, `nested_vmx_handle_enlightened_vmptrld` and ' +
        '`vmx_set_nested_state`, cleared by `nested_vmx_prepare_msr_bitmap`',
      nested_run_pending:
        'set by `nested_vmx_run` and `vmx_set_nested_state`; cleared by `vcpu_enter_guest` ' +
        '(vmx_vcpu_run) once L2 was entered, by `nested_vmx_run` for an L2 that halts or an ' +
        'entry that fails, and by `vmx_leave_nested`',
      mtf_pending: 'set by `vmx_set_nested_state`, cleared by `__nested_vmx_vmexit`',
      posted_intr_nv:
        'set at creation (−1), `prepare_vmcs02_early`; −1 again by `nested_release_vmcs12` ' +
        'and `free_nested`',
      pi_pending:
        'set by `vmx_deliver_nested_posted_interrupt`, `vmx_check_nested_events` and ' +
        '`nested_vmx_run`, and by `nested_vmx_enter_non_root_mode` with migrate-pi-pending; ' +
        'cleared by `vmx_complete_nested_posted_interrupt`, `prepare_vmcs02_early` and, with ' +
        'nested-nv-redeliver, `__nested_vmx_vmexit`',
      pi_desc_offset: {
        by: '`nested_get_vmcs12_pages`',
        source: 'offset_in_page() of the address, arch/x86/kvm/vmx/nested.c',
      },
      l1_tpr_threshold:
        'set by `vmx_update_cr8_intercept`, −1 by `prepare_vmcs02_early`; consumed by ' +
        '`__nested_vmx_vmexit`',
      change_vmcs01_virtual_apic_mode: deferred('`vmx_set_virtual_apic_mode`'),
      reload_vmcs01_apic_access_page: deferred('`vmx_set_apic_access_page_addr`'),
      update_vmcs01_apicv_status: deferred('`vmx_refresh_apicv_exec_ctrl`'),
      update_vmcs01_hwapic_isr: deferred('`vmx_hwapic_isr_update`'),
      preemption_timer_expired: {
        by: 'set by `vmx_preemption_timer_fn`, cleared by `vmx_start_preemption_timer`',
        source: 'struct nested_vmx, arch/x86/kvm/vmx/vmx.h; SDM 26.5.1',
      },
      vpid02: '`enter_vmx_operation`; 0 by `free_nested`',
      smm_vmxon: {
        by:
          'set by `vmx_enter_smm` and `vmx_set_nested_state`, cleared by `vmx_leave_smm` and ' +
          '`free_nested`',
        source: 'smm.vmxon of struct nested_vmx, arch/x86/kvm/vmx/vmx.h',
      },
      smm_guest_mode: {
        by: '`vmx_set_nested_state`; set by `vmx_enter_smm`, cleared by `vmx_leave_smm`',
        source: 'smm.guest_mode of struct nested_vmx, arch/x86/kvm/vmx/vmx.h',
      },
      enlightened_vmcs_enabled: {
        by: 'set at creation, from the scenario; the kernel: nested_enable_evmcs',
        source: 'struct nested_vmx, arch/x86/kvm/vmx/vmx.h; arch/x86/kvm/vmx/hyperv.c',
      },
      hv_evmcs_vmptr:
        'set at creation (none), by `nested_vmx_handle_enlightened_vmptrld`, and as pending by ' +
        '`vmx_set_nested_state`; none again by `nested_release_evmcs`',
      hv_vp_assist_page: {
        by: 'L1: `kvm_set_msr_common`',
        source: 'hv_vapic of struct kvm_vcpu_hv, arch/x86/include/asm/kvm_host.h',
      },
      hv_clean_fields: {
        by: '`nested_vmx_handle_enlightened_vmptrld`, cleared by `nested_release_evmcs`',
        source: 'hv_clean_fields of struct hv_enlightened_vmcs, include/hyperv/hvgdk.h',
      },
      hv_msr_bitmap: {
        by: '`nested_vmx_handle_enlightened_vmptrld`, cleared by `nested_release_evmcs`',
        source: 'hv_enlightenments_control, include/hyperv/hvgdk.h',
      },
      need_vmcs12_to_shadow_sync:
        'set by `__nested_vmx_vmexit`, `nested_vmx_enter_non_root_mode`, `failValid` and ' +
        '`nested_get_evmcs_page`; cleared by `nested_sync_vmcs12_to_shadow`',
      context: {
        by:
          'set at creation (−1); VMPTRLD: `vmx_nested_context_load`; with gpc-ctx-exclusive ' +
          'VMCLEAR and VMXOFF: `kvm_nested_context_clear`',
        source: 'the model: the cache pointers of struct nested_vmx in version 4 of the series',
      },
      l2_in_service_program: {
        by: '`saveL2Registers`, as L2 ends',
        source: 'the model: main/sim/kvm/vmx/nested/guest_state.ts',
      },
    },
  ),
  helpFor(SavedGuest, {
    source:
      'the model: GUEST_RIP and GUEST_RFLAGS of vmcs01, SDM 25.4.1; ' +
      'main/sim/kvm/vmx/nested/guest_state.ts',
    by: '`enterL2Registers`',
  }),
  helpFor(
    HostMap,
    { source: 'struct kvm_host_map, include/linux/kvm_types.h', by: '`__kvm_vcpu_map`' },
    {
      mapping: {
        by: '`__kvm_vcpu_map`; NONE again by `kvm_vcpu_unmap`',
        source: 'hva of struct kvm_host_map, include/linux/kvm_types.h',
      },
      pinned: {
        by: '`__kvm_vcpu_map`, of memory with a struct page; cleared by `kvm_vcpu_unmap`',
        source: 'pinned_page of struct kvm_host_map (page before), include/linux/kvm_types.h',
      },
    },
  ),
  helpFor(
    Gpc,
    { source: 'struct gfn_to_pfn_cache, include/linux/kvm_types.h' },
    {
      active: 'set by `kvm_gpc_activate`; cleared by `kvm_gpc_init` and `kvm_gpc_deactivate`',
      valid:
        'set by `hva_to_pfn_retry` for what it has found; cleared by it as a look-up begins, by ' +
        '`__kvm_gpc_refresh` if that fails, `gfn_to_pfn_cache_invalidate_start`, `kvm_gpc_init` ' +
        'and `kvm_gpc_deactivate`',
      on_list: {
        by: 'set by `kvm_gpc_activate`, cleared by `kvm_gpc_deactivate`',
        source: 'list of struct gfn_to_pfn_cache, include/linux/kvm_types.h',
      },
      gpa: '`__kvm_gpc_refresh`; none by `kvm_gpc_init`',
      uhva: '`__kvm_gpc_refresh`; none by `kvm_gpc_init`',
      generation: '`__kvm_gpc_refresh`',
      pfn:
        '`hva_to_pfn_retry`; none by `kvm_gpc_init`, `kvm_gpc_deactivate` and a ' +
        '`__kvm_gpc_refresh` that fails',
      khva:
        '`hva_to_pfn_retry`; none by `kvm_gpc_init`, `kvm_gpc_deactivate` and a ' +
        '`__kvm_gpc_refresh` that fails',
      khva_pfn: {
        by:
          'with khva: `hva_to_pfn_retry`, `kvm_gpc_init`, `kvm_gpc_deactivate`, ' +
          '`__kvm_gpc_refresh`',
        source: 'the model: khva is an address in the kernel, arch/x86/include/asm/io.h',
      },
      vcpu: {
        by:
          '−1 by `kvm_gpc_init`, then `initCaches` (kvm_gpc_init_for_vcpu); ' +
          '`nested_gpc_lock` of a recycled context',
        source: 'struct gfn_to_pfn_cache as the series has it, include/linux/kvm_types.h',
      },
      refresh_lock: '`kvm_gpc_activate`, `kvm_gpc_refresh`, `kvm_gpc_deactivate`',
    },
  ),
  helpFor(NestedCaches, {
    source: 'caches of struct nested_vmx as the series has it, arch/x86/kvm/vmx/vmx.h',
  }),
  helpFor(
    NestedContext,
    {
      source: 'struct kvm_nested_context of version 4 of the series, arch/x86/kvm/nested.c',
      by: '`kvm_nested_context_load`',
    },
    {
      vcpu: 'set by `kvm_nested_context_load`, −1 by `kvm_nested_context_clear`',
      released: {
        by: '`kvm_nested_context_clear`',
        source: 'the model: the order of the LRU list, main/sim/kvm/vmx/nested/context.ts',
      },
    },
  ),
  helpFor(
    NestedState,
    {
      source: 'struct kvm_nested_state, arch/x86/include/uapi/asm/kvm.h',
      by: '`vmx_get_nested_state`; user space by `editNestedState`',
    },
    {
      vmxon_pa: {
        source: 'hdr.vmx of struct kvm_nested_state, arch/x86/include/uapi/asm/kvm.h',
      },
      vmcs12_pa: {
        source: 'hdr.vmx of struct kvm_nested_state, arch/x86/include/uapi/asm/kvm.h',
      },
      smm_flags: {
        source: 'hdr.vmx.smm of struct kvm_nested_state, arch/x86/include/uapi/asm/kvm.h',
      },
      vmx_flags: {
        source: 'hdr.vmx.flags of struct kvm_nested_state, arch/x86/include/uapi/asm/kvm.h',
      },
    },
  ),
  helpFor(
    HeldLocks,
    {
      source: 'the model: bookkeeping of the checks, main/sim/host/locks.ts',
      by:
        'raised by `read_lock_gpc`, `write_lock_gpc` and `lock_gpc_list`, lowered by ' +
        '`read_unlock_gpc`, `write_unlock_gpc` and `unlock_gpc_list`',
    },
    {
      wants: 'set by `noteWanted` before the wait, cleared by `gotWanted` when the lock is taken',
      wanted: '`noteWanted`, before the wait',
      looks_again: {
        by: '`noteLooksAgain` of `hva_to_pfn_retry`',
        source: 'the model: bookkeeping of the checks, main/sim/kvm/pfncache.ts',
      },
      notifying: {
        by:
          'raised by `kvm_mmu_notifier_invalidate_range_start`, lowered by ' +
          '`kvm_mmu_notifier_invalidate_range_end`',
        source: 'the model: bookkeeping of the checks, main/sim/kvm/mmu_notifier.ts',
      },
    },
  ),
];
