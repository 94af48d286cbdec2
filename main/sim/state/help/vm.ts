/** Help: the virtual machine. */

import { RwLock } from '../locks.ts';
import { MachineState } from '../machine.ts';
import { Memslot, Srcu, Vm } from '../vm.ts';
import { helpFor } from './form.ts';

const arch = 'struct kvm_arch, arch/x86/include/asm/kvm_host.h';

export const vmHelp = [
  helpFor(MachineState, { source: 'the model: main/sim/state/machine.ts', by: 'whatever acts' }),
  helpFor(
    Vm,
    { source: 'struct kvm, include/linux/kvm_host.h' },
    {
      memslots_generation: {
        by: '`kvm_swap_active_memslots`',
        source: 'generation of struct kvm_memslots, include/linux/kvm_host.h',
      },
      apic_access_memslot_enabled: {
        by: 'set at creation; cleared by `kvm_inhibit_apic_access_page`',
        source: arch,
      },
      apic_access_memslot_inhibited: { by: '`kvm_inhibit_apic_access_page`', source: arch },
      slots_lock: '`kvm_vm_ioctl_set_memory_region`, `kvm_inhibit_apic_access_page`',
      mn_invalidate_lock:
        '`kvm_swap_active_memslots`; where the notifier has it, one step takes and releases it',
      mmu_invalidate_seq:
        '`kvm_mmu_notifier_invalidate_range_end`, `kvm_zap_gfn_range` ' +
        '(kvm_mmu_invalidate_end)',
      mmu_invalidate_in_progress:
        'raised by `__kvm_handle_hva_range` at the start, lowered by ' +
        '`kvm_mmu_notifier_invalidate_range_end`; both by `kvm_zap_gfn_range`',
      mmu_invalidate_range_start:
        '`kvm_mmu_invalidate_range_add`; reset by `__kvm_handle_hva_range` and ' +
        '`kvm_zap_gfn_range` when no invalidation is in progress',
      mmu_invalidate_range_end:
        '`kvm_mmu_invalidate_range_add`; reset by `__kvm_handle_hva_range` and ' +
        '`kvm_zap_gfn_range` when no invalidation is in progress',
      mn_active_invalidate_count:
        '`kvm_mmu_notifier_invalidate_range_start`, `kvm_mmu_notifier_invalidate_range_end`',
      apicv_inhibit_reasons: {
        by: 'set at creation: DISABLED without enable_apicv; `__kvm_set_or_clear_apicv_inhibit`',
        source: arch,
      },
      irqchip_mode: {
        by: 'set at creation; the kernel: KVM_CREATE_IRQCHIP, KVM_CAP_SPLIT_IRQCHIP',
        source: arch,
      },
      enable_apicv: {
        by: 'set at creation, from the scenario',
        source: 'module parameter of kvm-intel, arch/x86/kvm/vmx/vmx.c',
      },
      flexpriority_enabled: {
        by: 'set at creation: true',
        source: 'module parameter of kvm-intel, arch/x86/kvm/vmx/vmx.c',
      },
      apic_map_dirty: {
        by:
          'set to DIRTY by `markApicMapDirty` of whoever changes an APIC, without a ' +
          'lock; else `kvm_recalculate_apic_map`',
        source: arch,
      },
      apic_map_lock: { by: '`kvm_recalculate_apic_map`', source: arch },
      vapics_in_nmi_mode: { by: '`apic_manage_nmi_watchdog`', source: arch },
      x2apic_format: { by: 'set at creation; the kernel: kvm_vm_ioctl_enable_cap', source: arch },
      x2apic_broadcast_quirk_disabled: {
        by: 'set at creation; the kernel: kvm_vm_ioctl_enable_cap',
        source: arch,
      },
      disabled_quirks: { by: 'set at creation; the kernel: kvm_vm_ioctl_enable_cap', source: arch },
      apic_bus_cycle_ns: {
        by:
          'set at creation; the kernel: kvm_vm_ioctl_enable_cap ' +
          '(KVM_CAP_X86_APIC_BUS_CYCLES_NS)',
        source: arch,
      },
      vector_hashing: {
        by: 'set at creation, from the scenario',
        source: 'module parameter of kvm, arch/x86/kvm/x86.c',
      },
      enable_ipiv: {
        by: 'set at creation, from the scenario',
        source: 'module parameter of kvm-intel, arch/x86/kvm/vmx/vmx.c',
      },
      assigned_devices: {
        by: '`vmx_pi_start_assignment`',
        source: 'assigned_device_count, arch/x86/include/asm/kvm_host.h',
      },
      pi_inject_timer: {
        by: 'set at creation, from the scenario',
        source: 'module parameter of kvm, arch/x86/kvm/x86.c',
      },
      enable_preemption_timer: {
        by: 'set at creation, from the scenario',
        source: 'module parameter preemption_timer of kvm-intel, arch/x86/kvm/vmx/vmx.c',
      },
      min_timer_period_us: {
        by: 'set at creation (200)',
        source: 'module parameter of kvm, arch/x86/kvm/x86.c',
      },
      mwait_in_guest: {
        by: 'set at creation; the kernel: KVM_CAP_X86_DISABLE_EXITS',
        source: arch,
      },
      enable_mmio_caching: {
        by: 'set at creation, from the scenario',
        source: 'module parameter mmio_caching of kvm, arch/x86/kvm/mmu/spte.c',
      },
      hlt_in_guest: { by: 'set at creation; the kernel: KVM_CAP_X86_DISABLE_EXITS', source: arch },
      x2apic_cpuid: {
        by: 'set at creation; the kernel: KVM_SET_CPUID2',
        source: 'X86_FEATURE_X2APIC, arch/x86/kvm/cpuid.c; SDM 11.12.1',
      },
      tsc_deadline_cpuid: {
        by: 'set at creation; the kernel: KVM_SET_CPUID2',
        source: 'X86_FEATURE_TSC_DEADLINE_TIMER, arch/x86/kvm/cpuid.c; SDM 11.5.4.1',
      },
      tsc_khz: {
        by: 'set at creation; the kernel: KVM_SET_TSC_KHZ',
        source: 'virtual_tsc_khz of struct kvm_vcpu_arch, arch/x86/include/asm/kvm_host.h',
      },
      tsc_offset: {
        by: 'set at creation, from the scenario',
        source: 'l1_tsc_offset of struct kvm_vcpu_arch, arch/x86/include/asm/kvm_host.h',
      },
      bsp_vcpu_id: { by: 'set at creation; the kernel: KVM_SET_BOOT_CPU_ID', source: arch },
      maxphyaddr: {
        by: 'set at creation; the kernel: KVM_SET_CPUID2',
        source: 'maxphyaddr of struct kvm_vcpu_arch, arch/x86/include/asm/kvm_host.h',
      },
      now: {
        by: '`tick` of the actor that is the clock',
        source: 'the model: ktime_get(), kernel/time/timekeeping.c',
      },
      pid_table: {
        by: 'set at creation: `vmx_alloc_ipiv_pid_table`',
        source: 'struct kvm_vmx, arch/x86/kvm/vmx/vmx.h; SDM 30.1.6',
      },
      enable_vmx: {
        by: 'set at creation; the kernel: KVM_SET_CPUID2, with module parameter nested',
        source: 'X86_FEATURE_VMX, arch/x86/kvm/cpuid.c; nested, arch/x86/kvm/vmx/vmx.c',
      },
      gpc_lock: '`kvm_gpc_activate`, `kvm_gpc_deactivate`, `gfn_to_pfn_cache_invalidate_start`',
      nested_context_lock: {
        by: '`kvm_nested_context_load`, `kvm_nested_context_clear`',
        source: 'the table of version 4 of the series, arch/x86/kvm/nested.c',
      },
      nested_context_clears: {
        by: '`kvm_nested_context_clear`',
        source: 'the model: the order of the LRU list, main/sim/kvm/vmx/nested/context.ts',
      },
    },
  ),
  helpFor(
    Memslot,
    {
      source: 'struct kvm_memory_slot, include/linux/kvm_host.h',
      by: 'set at creation, `kvm_swap_active_memslots`',
    },
    {
      used: {
        by: 'set at creation, `kvm_swap_active_memslots`',
        source: 'being in the active set: struct kvm_memslots, include/linux/kvm_host.h',
      },
      invalid: {
        by:
          '`kvm_swap_active_memslots`: set for kvm_invalidate_memslot, cleared with ' +
          'what comes after it',
        source: 'KVM_MEMSLOT_INVALID in flags of struct kvm_memory_slot, include/linux/kvm_host.h',
      },
      dirty_bitmap: '`kvm_vcpu_mark_page_dirty`',
    },
  ),
  helpFor(
    RwLock,
    {
      source:
        'rwlock_t, include/linux/rwlock_types.h; apicv_update_lock: struct ' +
        'rw_semaphore, include/linux/rwsem.h',
    },
    {
      writer:
        '`write_lock_mmu`, `write_unlock_mmu`, `down_write_apicv_update`, ' +
        '`up_write_apicv_update`, of a cache `write_lock_gpc`, `write_unlock_gpc`',
      readers:
        '`read_lock_mmu`, `read_unlock_mmu`, `down_read_apicv_update`, `up_read_apicv_update`, ' +
        'of a cache `read_lock_gpc`, `read_unlock_gpc`',
    },
  ),
  helpFor(
    Srcu,
    {
      source: 'struct srcu_struct, include/linux/srcutree.h',
      by: '`srcu_read_lock`, `srcu_read_unlock`',
    },
    {
      idx: '`kvm_swap_active_memslots` (synchronize_srcu)',
    },
  ),
];
