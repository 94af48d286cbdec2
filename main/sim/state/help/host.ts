/** Help: host memory and physical CPUs. */
import { EptRoot, Frame, GfnToHvaCache, Pte, Spte, TlbEntry } from '../memory.ts';
import { Cpu } from '../vcpu.ts';
import { helpFor } from './form.ts';

export const hostHelp = [
  helpFor(
    Frame,
    { source: 'struct page, include/linux/mm_types.h' },
    {
      refcount: '`alloc_page`, `get_page`, `put_page`',
      pincount: 'nobody yet: no model function pins with FOLL_PIN',
      freed: {
        by: 'set by `put_page`, cleared by `alloc_page`',
        source: 'the model: main/sim/host/frames.ts',
      },
      allocated: {
        by: 'set by `alloc_page`, cleared by `put_page`',
        source: 'the model: main/sim/host/frames.ts',
      },
      has_struct_page: {
        by: 'set at creation: true of every frame',
        source: 'pfn_valid(), the model has no holes: main/sim/boot.ts',
      },
      dirty: 'cleared by `alloc_page`, set by `kvm_tdp_page_fault` (kvm_release_page_dirty)',
      accessed:
        'cleared by `alloc_page`, set by `kvm_tdp_page_fault` and ' +
        '`vmx_set_apic_access_page_addr` (kvm_release_page_clean)',
      tag: { by: '`copy_page`', source: 'the model: main/sim/host/frames.ts' },
      data: {
        by:
          'the CPU and KVM, by `writeFrame`: the guest (guestAccess), the ' +
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
        by: 'set at creation; cleared by `vm_munmap`',
        source: 'the model: vm_area_struct and its pte_t in one, main/sim/host/page_table.ts',
      },
      hva: 'set at creation; the kernel: user space maps it',
      pfn:
        '`get_user_pages_unlocked`, `remove_migration_pte`, `dropFrame`: munmap, ' +
        'madvise, and a mapping in the place of another',
      present:
        'set by `get_user_pages_unlocked` and `remove_migration_pte`; cleared by ' +
        '`try_to_migrate_one`, `zap_page_range_single` and `vm_munmap`',
      migrating: {
        by:
          'set by `try_to_migrate_one`, cleared by `remove_migration_pte`; ' +
          '`zap_page_range_single` and `vm_munmap` leave it clear',
        source: 'make_writable_migration_entry(), include/linux/swapops.h',
      },
      writable: 'set at creation; the kernel: user space maps it',
    },
  ),
  helpFor(
    Spte,
    { source: 'leaf SPTE, arch/x86/kvm/mmu/spte.h; SDM 29.3.2', by: '`kvm_tdp_page_fault`' },
    {
      present: 'set by `kvm_tdp_page_fault`, cleared by `kvm_tdp_mmu_unmap_gfn_range`',
    },
  ),
  helpFor(
    EptRoot,
    { source: 'struct kvm_mmu_page, arch/x86/kvm/mmu/mmu_internal.h', by: '`kvm_mmu_load`' },
    {
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
