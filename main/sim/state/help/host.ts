/** Help: host memory, physical CPUs and their timers. */
import { EptRoot, Frame, GfnToHvaCache, Pte, Spte, TlbEntry } from '../memory.ts';
import { Hrtimer } from '../timer.ts';
import { Cpu } from '../vcpu.ts';
import { helpFor } from './form.ts';

const faults = '`kvm_tdp_page_fault`, of L2 `ept_page_fault`';

export const hostHelp = [
  helpFor(
    Frame,
    { source: 'struct page, include/linux/mm_types.h' },
    {
      refcount: '`alloc_page`, `get_page`, `put_page`; `disown_page`: nobody counts',
      pincount: '`pin_page`, `unpin_user_page`; 0 by `alloc_page`',
      freed: {
        by: 'set by `put_page`, `unpin_user_page` and `drop_mapping`, cleared by `alloc_page`',
        source: 'the model: main/sim/host/frames.ts',
      },
      allocated: {
        by: 'set by `alloc_page`, cleared by `put_page`, `unpin_user_page` and `drop_mapping`',
        source: 'the model: main/sim/host/frames.ts',
      },
      has_struct_page: {
        by: 'set by `alloc_page`, cleared by `disown_page` of memory that has none',
        source: 'pfn_valid(), include/linux/mmzone.h; the model: main/sim/host/frames.ts',
      },
      dirty:
        `cleared by \`alloc_page\`, set by ${faults} (kvm_release_page_dirty), ` +
        '`kvm_vcpu_unmap` of what was writable',
      accessed:
        `cleared by \`alloc_page\`, set by ${faults}, \`kvm_vcpu_unmap\` and ` +
        '`vmx_set_apic_access_page_addr` (kvm_release_page_clean)',
      tag: { by: '`copy_page`', source: 'the model: main/sim/host/frames.ts' },
      data: {
        by:
          'the CPU and KVM, by `writeFrame` and `writePhysical`: the guest (guestAccess), the ' +
          'virtual-APIC page, __copy_to_user; `copy_page` when the page migrates',
        source: 'the bytes of the frame, the model: main/sim/host/frames.ts',
      },
    },
  ),
  helpFor(
    Pte,
    { source: 'pte_t of the VMM process, include/linux/pgtable.h' },
    {
      used: {
        by: 'set at creation, and by `mmap_region`; cleared by `vm_munmap`',
        source: 'the model: vm_area_struct and its pte_t in one, main/sim/host/page_table.ts',
      },
      hva: 'set at creation, and by `mmap_region`; the kernel: user space maps it',
      pfn:
        '`get_user_pages_unlocked`, `remove_migration_pte`; none by `mmap_region` and `zapPage`: ' +
        'madvise, the OOM killer, and a mapping in the place of another',
      present:
        'set by `get_user_pages_unlocked` and `remove_migration_pte`; cleared by ' +
        '`try_to_migrate_one`, `zap_page_range_single` and `vm_munmap`',
      migrating: {
        by:
          'set by `try_to_migrate_one`, cleared by `remove_migration_pte`; ' +
          '`zap_page_range_single` and `vm_munmap` leave it clear',
        source: 'make_writable_migration_entry(), include/linux/swapops.h',
      },
      writable: 'set at creation, and by `mmap_region`; the kernel: user space maps it',
      pfnmap: {
        by: 'set at creation, from the scenario; the kernel: remap_pfn_range of a driver',
        source: 'VM_PFNMAP, include/linux/mm.h',
      },
    },
  ),
  helpFor(
    Spte,
    { source: 'leaf SPTE, arch/x86/kvm/mmu/spte.h; SDM 29.3.2', by: faults },
    {
      present:
        `set by ${faults}; cleared by \`unlinkTables\`, \`kvm_tdp_mmu_unmap_gfn_range\`, and by ` +
        '`kvm_mmu_load` that takes an old root',
      gfn: faults,
      mmio: '`mapMmioSpte`, for an access of L2 that is emulated; `mapSpte`',
      generation: '`mapMmioSpte`',
      l1_gfn: {
        by: faults,
        source: 'the model: sp->gfn of the shadowed page, arch/x86/kvm/mmu/mmu_internal.h',
      },
    },
  ),
  helpFor(
    EptRoot,
    { source: 'struct kvm_mmu_page, arch/x86/kvm/mmu/mmu_internal.h', by: '`kvm_mmu_load`' },
    {
      tables_freed: '`freeTables`, as a memslot goes or moves',
      refcount: {
        by: 'raised by `kvm_mmu_load`, lowered by `freeGuestRoot`',
        source: 'root_count of struct kvm_mmu_page, arch/x86/kvm/mmu/mmu_internal.h',
      },
      eptp12: {
        by: 'set at creation (EPT01), `kvm_mmu_load`',
        source: 'root.pgd of struct kvm_mmu, arch/x86/include/asm/kvm_host.h; SDM 25.6.11',
      },
      invalid: {
        by: 'nobody yet: no model function makes a root obsolete',
        source: 'role.invalid of struct kvm_mmu_page, arch/x86/kvm/mmu/mmu_internal.h',
      },
    },
  ),
  helpFor(
    TlbEntry,
    {
      source: 'SDM 29.4: caching of translations under EPT and VPID',
      by: '`tlbFill`, as `guestAccess` walks the EPT',
    },
    {
      valid:
        'set by `tlbFill`; cleared by INVEPT (`inveptAllContext`, ' +
        '`inveptSingleContext`) and INVVPID (`invvpidSingleContext`)',
    },
  ),
  helpFor(
    Hrtimer,
    { source: 'struct hrtimer, include/linux/hrtimer_types.h', by: '`hrtimer_start`' },
    {
      armed: 'set by `hrtimer_start`, cleared by `hrtimer_cancel` and `__run_hrtimer`',
      running: {
        by: '`__run_hrtimer`',
        source: 'running of struct hrtimer_clock_base, include/linux/hrtimer_defs.h',
      },
    },
  ),
  helpFor(GfnToHvaCache, {
    source: 'struct gfn_to_hva_cache, include/linux/kvm_types.h',
    by: '`kvm_gfn_to_hva_cache_init`',
  }),
  helpFor(
    Cpu,
    { source: 'the model: the processor below the host, main/sim/hw/physical_interrupts.ts' },
    {
      irqs_on: {
        by: '`local_irq_enable`, `local_irq_disable`',
        source: 'RFLAGS.IF of the host; include/linux/irqflags.h',
      },
      pending: {
        by:
          'set by who sends an IPI (`smp_send_reschedule`, `smp_send_notification`, ' +
          '`smp_call_function_many`; in the guest `ipiVirtualization`) and by the ' +
          'IOMMU (`postInterrupt`); cleared by `takeInterrupts` of the host and, in ' +
          'the guest, by `acknowledgeVector`',
        source: 'IRR of the physical APIC, SDM 11.8.4',
      },
      call_queue: {
        by: '`smp_call_function_many`; `runCallQueue` empties it',
        source: 'call_single_queue, kernel/smp.c',
      },
      vectors: {
        by:
          'set by `raiseVector`; cleared by `takeInterrupts` and, in the guest, by ' +
          '`acknowledgeVector`',
        source: 'IRR of the physical APIC, SDM 11.8.4',
      },
      maxphyaddr: {
        by: 'set at creation; the processor',
        source: 'CPUID.80000008H:EAX[7:0]; arch/x86/kernel/cpu/common.c',
      },
      rflags_zf: { by: '`enterGuest`: VM entry', source: 'SDM 31.2: VMfailValid' },
      tlb_next: { by: '`tlbFill`', source: 'the model: main/sim/hw/tlb.ts' },
      ipis: {
        by:
          '`smp_call_function_many`, `smp_send_reschedule`, `smp_send_notification`, ' +
          '`ipiVirtualization`',
        source: 'the model: main/sim/host/irq.ts',
      },
      wakeup_vcpus_on_cpu_lock: {
        by: '`pi_enable_wakeup_handler`, `vmx_vcpu_pi_load`, `pi_wakeup_handler`',
        source: 'wakeup_vcpus_on_cpu_lock, arch/x86/kvm/vmx/posted_intr.c',
      },
    },
  ),
];
