/** Help: what is counted and noted besides: no model code decides anything on it. */
import { KickTime, RequestTimes, VcpuSpec, VcpuStat } from '../vcpu.ts';
import { OngoingRange, VmSpec, VmStat } from '../vm.ts';
import { helpFor } from './form.ts';

const hostMap = 'the model: main/sim/kvm/host_map.ts';
const cache = 'the model: main/sim/kvm/pfncache.ts';
const contextTable =
  'statistics of version 4 of the series, the model: main/sim/kvm/vmx/nested/context.ts';

export const countersHelp = [
  helpFor(
    VcpuStat,
    {
      source:
        'the model: cost counters; where the kernel has one, struct kvm_vcpu_stat, ' +
        'arch/x86/include/asm/kvm_host.h',
    },
    {
      vm_entries: { by: '`enterGuest`', source: 'the model; SDM 27' },
      vm_exits: {
        by: '`leaveGuest`',
        source: 'the model: more than exits of struct kvm_vcpu_stat; SDM 28',
      },
      ept_violations: {
        by: '`handle_ept_violation`',
        source: 'the model: like pf_taken of struct kvm_vcpu_stat',
      },
      apic_access_exits: { by: '`handle_apic_access`', source: 'the model: main/sim/kvm/exits.ts' },
      emulated_apic_mmio: {
        by: '`apic_mmio_read`, `apic_mmio_write`',
        source: 'the model: main/sim/kvm/lapic/access.ts',
      },
      requests_made: { by: '`kvm_make_request`', source: 'the model: main/sim/kvm/kvm_main.ts' },
      requests_handled: {
        by: '`kvm_check_request`; `vcpu_run` for UNBLOCK',
        source: 'the model: main/sim/kvm/requests.ts',
      },
      tlb_flush_all: {
        by: '`vmx_flush_tlb_all`',
        source: 'the model: part of tlb_flush of struct kvm_vcpu_stat',
      },
      tlb_flush_current: {
        by: '`vmx_flush_tlb_current`; `kvm_mmu_load`',
        source: 'the model: part of tlb_flush of struct kvm_vcpu_stat',
      },
      reloads: {
        by: '`vmx_set_apic_access_page_addr`',
        source: 'the model: main/sim/kvm/vmx/vmx.ts',
      },
      kicks: { by: '`kvm_vcpu_kick`', source: 'the model: main/sim/kvm/kvm_main.ts' },
      wakeups: {
        by: '`kvm_vcpu_trigger_posted_interrupt`',
        source: 'the model; halt_wakeup of struct kvm_vcpu_stat counts at the woken side',
      },
      irq_injections: {
        by: '`vmx_inject_irq`',
        source: 'irq_injections of struct kvm_vcpu_stat, arch/x86/include/asm/kvm_host.h',
      },
      irq_window_exits: {
        by: '`handle_interrupt_window`',
        source: 'irq_window_exits of struct kvm_vcpu_stat, arch/x86/include/asm/kvm_host.h',
      },
      user_exits: {
        by: '`vcpu_run`',
        source: 'the model: more than request_irq_exits and signal_exits of struct kvm_vcpu_stat',
      },
      nested_entries: {
        by: '`nested_vmx_enter_non_root_mode`',
        source: 'the model; nested_run of struct kvm_vcpu_stat counts the attempts',
      },
      nested_exits: {
        by: '`__nested_vmx_vmexit`',
        source: 'the model: main/sim/kvm/vmx/nested/vmexit.ts',
      },
      hostmap_kmap: { by: '`__kvm_vcpu_map`', source: hostMap },
      hostmap_kunmap: { by: '`kvm_vcpu_unmap`', source: hostMap },
      hostmap_memremap: { by: '`__kvm_vcpu_map`', source: hostMap },
      hostmap_memunmap: { by: '`kvm_vcpu_unmap`', source: hostMap },
      hostmap_pins: { by: '`__kvm_vcpu_map`', source: hostMap },
      gpc_kmap: { by: '`gpc_map`', source: cache },
      gpc_kunmap: { by: '`gpc_unmap`', source: cache },
      gpc_memremap: { by: '`gpc_map`', source: cache },
      gpc_memunmap: { by: '`gpc_unmap`', source: cache },
      gpc_final_check_fails: { by: '`kvm_invalid_nested_state`', source: cache },
      get_nested_state_pages: {
        by: '`vmx_get_nested_state_pages`',
        source: 'the model: main/sim/kvm/vmx/nested/pages.ts',
      },
      vmcs01_guard_switches: {
        by: '`loadVmcs01`',
        source: 'the model: main/sim/kvm/vmx/vmcs01.ts',
      },
    },
  ),
  helpFor(
    RequestTimes,
    { source: 'the model: bookkeeping of the checks' },
    {
      published: '`kvm_make_request`; without nested-pi-mb `drainOldest`',
      taken: '`kvm_check_request`; `vcpu_run` for UNBLOCK',
    },
  ),
  helpFor(
    KickTime,
    {
      source: 'the model: bookkeeping of the checks',
      by: '`kvm_make_vcpus_request_mask`, `kvm_make_all_cpus_request`',
    },
    {
      undecided:
        'set by `kvm_make_request`, cleared by `kvm_vcpu_kick` and ' +
        '`kvm_vcpu_trigger_posted_interrupt`',
      level: '`__apic_accept_irq`',
    },
  ),
  helpFor(
    VcpuSpec,
    { source: 'the model: bookkeeping of the checks' },
    {
      makers_in_flight: '`kvm_make_vcpus_request_mask`, `kvm_make_all_cpus_request`',
      in_reload:
        'set by `kvm_check_request` as it takes APIC_PAGE_RELOAD, cleared by ' +
        '`kvm_vcpu_reload_apic_access_page`',
      left_guest: '`leaveGuest`',
      walks: '`walk_shadow_page_lockless_end`',
      exits_while_run_pending: '`__nested_vmx_vmexit`',
      extints_lost: '`vmx_check_nested_events`, of an ExtINT that it took before it could exit',
      block_ebusy: '`vcpu_block`, with block-ignore-ebusy off',
      vmcs12_foreign_reads: '`notificationOfL2`, with nested-pi-cached-nv off',
      posting: '`__vmx_deliver_posted_interrupt`, `ipiVirtualization`',
      harvesting:
        '`vmx_sync_pir_to_irr`, `postedInterruptProcessing`, `vmx_apicv_pre_state_restore`',
      notifying:
        '`__vmx_deliver_posted_interrupt`, `postInterrupt` of the IOMMU, `ipiVirtualization`',
      in_pi_load: 'set by `kvm_sched_in`, cleared by `kvm_arch_vcpu_load`',
      in_pi_switch: 'set by `changeList`, cleared by `writeControl`',
      accepting: '`vmx_deliver_interrupt`',
      irr_hint_open: '`apic_set_irr`, `apic_clear_irr`, `kvm_apic_set_state`',
      ppr_update: '`__apic_update_ppr`',
      wrong_eois: '`apic_set_eoi`, `eoiVirtualization`',
      lvts_to_mask:
        'set by `kvm_lapic_reg_write`, cleared by `apic_set_spiv` and `kvm_apic_set_state`',
      untimely_tmr: '`noteVisible`, as a sender sets the vector in PIR or IRR',
      sipi_vector: '`__apic_accept_irq`',
      sipi_stored: '`__apic_accept_irq`',
      sipis_after_init: '`__apic_accept_irq`',
      timer_open:
        'set by `__start_apic_timer` and `advance_periodic_target_expiration`, cleared by ' +
        '`apic_timer_expired`',
      double_expiries: '`apic_timer_expired`',
      timer_mode_breaks: '`apic_update_lvtt`, `kvm_set_lapic_tscdeadline_msr`',
      vapic_word: '`kvm_lapic_sync_to_vapic`',
      vapic_synced: 'set by `kvm_lapic_sync_to_vapic`, cleared by `kvm_lapic_sync_from_vapic`',
      extints:
        'raised by `kvm_cpu_get_extint`, lowered by `kvm_check_and_inject_events`, and by ' +
        '`vmx_check_nested_events` where it ends L2',
      misdirected_vmwrites: '`vmcsOfL1`, asked while vmcs02 is loaded',
      l1_status_in_vmcs02: '`vmcsOfL1Status`, asked while vmcs02 is loaded',
      failed_final_checks:
        'raised by `kvm_invalid_nested_state`, which begins again at 0 when it finds all pages; ' +
        'so does `noteMended`, as a cache gets a page or is given up',
      notifications_lost:
        '`vmx_deliver_nested_posted_interrupt`, if L2 has ended; `noteUntaken`, as L2 ends; ' +
        '`noteForgotten`, as a restored L2 is entered',
      nested_notified:
        'set by `vmx_deliver_nested_posted_interrupt`, `notePending`, `checkApic` and ' +
        '`noteForgotten`; cleared by `vmx_complete_nested_posted_interrupt`, ' +
        '`forgetNotification` and `redeliverNotification`',
      vapic_written: 'set by `noteWritten`, cleared by `noteWritesOfL2` as the CPU leaves L2',
      pi_desc_written:
        'set by `postedInterruptProcessing`, cleared by `noteWritesOfL2` as the CPU leaves L2',
      vapic_unlogged:
        'set by `noteWritesOfL2` and `vmx_complete_nested_posted_interrupt`, cleared by ' +
        '`noteLogged` of `kvm_vcpu_mark_page_dirty`',
      pi_desc_unlogged:
        'set by `noteWritesOfL2` and `vmx_complete_nested_posted_interrupt`, cleared by ' +
        '`noteLogged` of `kvm_vcpu_mark_page_dirty`',
    },
  ),
  helpFor(
    VmStat,
    {
      source:
        'the model: cost counters; where the kernel has one, struct kvm_vm_stat, ' +
        'arch/x86/include/asm/kvm_host.h',
    },
    {
      remote_tlb_flush_requests: {
        by: '`kvm_flush_remote_tlbs`',
        source:
          'remote_tlb_flush_requests of struct kvm_vm_stat_generic, include/linux/kvm_types.h',
      },
      sptezaps: {
        by: '`kvm_tdp_mmu_unmap_gfn_range`',
        source: 'the model: main/sim/kvm/mmu/mmu.ts',
      },
      wait_stalls: { by: '`smp_call_function_many`', source: 'the model: main/sim/host/irq.ts' },
      apicv_switches: {
        by: '`__kvm_set_or_clear_apicv_inhibit`',
        source: 'the model: main/sim/kvm/apicv.ts',
      },
      gpc_activates: { by: '`kvm_gpc_activate`', source: cache },
      gpc_refreshes: { by: '`__kvm_gpc_refresh`', source: cache },
      gpc_refresh_retries: { by: '`hva_to_pfn_retry`', source: cache },
      gpc_invalidations: { by: '`gfn_to_pfn_cache_invalidate_start`', source: cache },
      gpc_deactivates: { by: '`kvm_gpc_deactivate`', source: cache },
      nested_context_reuse: { by: '`kvm_nested_context_load`', source: contextTable },
      nested_context_recycle: { by: '`kvm_nested_context_load`', source: contextTable },
    },
  ),
  helpFor(
    OngoingRange,
    {
      source: 'the model: bookkeeping of the checks',
      by: '`__kvm_handle_hva_range`, `kvm_zap_gfn_range`',
    },
    {
      active:
        'set by `__kvm_handle_hva_range`, cleared by ' +
        '`kvm_mmu_notifier_invalidate_range_end`; both by `kvm_zap_gfn_range`',
    },
  ),
  helpFor(
    VmSpec,
    { source: 'the model: bookkeeping of the checks' },
    {
      raw_apic_accesses: '`guestAccess`',
      host_apic_accesses: '`reachHostApic`: RDMSR and WRMSR that nothing intercepts or virtualizes',
      freed_frame_writes: '`writeFrame`, `writePhysical`',
      foreign_mode_writes: '`setMode`, if another thread writes the mode of a vCPU',
      unacked_waits:
        '`noteAcks`, as the wait of `kvm_make_vcpus_request_mask` or ' +
        '`kvm_make_all_cpus_request` ends',
      invalidations:
        '`__kvm_handle_hva_range`, `kvm_zap_gfn_range` raise it; lowered by ' +
        '`kvm_mmu_notifier_invalidate_range_end` and `kvm_zap_gfn_range`',
      own_zaps: '`kvm_zap_gfn_range`',
      ends: '`kvm_mmu_notifier_invalidate_range_end`, `kvm_zap_gfn_range`',
      zap_unflushed: '`zapAndFlush`: raised before a zap, lowered when its flush was asked for',
      apic_unannounced: '`clearPte`, until it has announced the change (->invalidate_range)',
      slot_changes_in_invalidation: '`kvm_swap_active_memslots`',
      apic_pte_changed:
        '`noteChange`: raised with the change, lowered at the end of the invalidation',
      slept_locked: '`noteSleep` in what may sleep of a cache: its look-up, its mapping, its mutex',
      slept_interruptible: '`noteSleep`, the same of a thread that has said it is going to sleep',
      unlocked_gpc_uses:
        '`nested_lock_pi_desc`, `nested_lock_vapic` with gpc-use-under-lock off; ' +
        '`noteEvmcsUse` without evmcs-gpc',
      gpc_changes:
        '`kvm_gpc_activate`, `kvm_gpc_deactivate`: raised at the start, lowered at the end',
      gpc_refs: 'raised by `publish`, lowered by `unmapOld`, both with gpc-no-pin off',
      oom_kicks: '`gfn_to_pfn_cache_invalidate_start`',
      shared_contexts: '`kvm_nested_context_load`',
      apicv_followers: '`__kvm_vcpu_update_apicv`',
      reasons_while_followed: '`__kvm_set_or_clear_apicv_inhibit`',
      torn_wakeup_lists: '`changeList`',
      map_restarts: '`kvm_recalculate_apic_map`, by `noteRestart`',
    },
  ),
];
