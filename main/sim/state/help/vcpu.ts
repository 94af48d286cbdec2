/** Help: a vCPU. */
import {
  Delivered,
  Guest,
  Mmu,
  PvEoi,
  QueuedInterrupt,
  RunMmio,
  SmramState,
  Vcpu,
} from '../vcpu.ts';
import { MsrBitmap } from '../vmcs.ts';
import { helpFor } from './form.ts';

const arch = 'struct kvm_vcpu_arch, arch/x86/include/asm/kvm_host.h';
const vmx = 'struct vcpu_vmx, arch/x86/kvm/vmx/vmx.h';

export const vcpuHelp = [
  helpFor(
    Vcpu,
    { source: 'struct kvm_vcpu, include/linux/kvm_host.h' },
    {
      vcpu_id: 'set at creation; the kernel: kvm_vm_ioctl_create_vcpu',
      mode:
        'the vCPU in `vcpu_enter_guest`; IN to EXITING also others, in ' +
        '`kvm_vcpu_exiting_guest_mode`',
      requests:
        'set by `kvm_make_request`; cleared by `kvm_check_request`, and by ' +
        '`vcpu_enter_guest` and `vcpu_run` for what needs no handler, `free_nested` for ' +
        'GET_NESTED_STATE_PAGES',
      cpu: 'set at creation, `kvm_arch_vcpu_load`',
      non_root: {
        by: 'set by `enterGuest`, cleared by `leaveGuest`',
        source: 'the model: VMX non-root operation, SDM 26',
      },
      guest_mode: {
        by: 'set by `nested_vmx_enter_non_root_mode`, cleared by `__nested_vmx_vmexit`',
        source: `hflags of ${arch}`,
      },
      loaded_vmcs: {
        by:
          '`vmx_switch_vmcs`, between L1 and L2; `loadVmcs01` and `loadVmcs02`, around a write ' +
          'of vmcs01 while L2 is active',
        source: vmx,
      },
      exception_pending: {
        by:
          'set by `vmx_complete_interrupts` and `vmx_cancel_injection` for one that was not ' +
          'delivered; cleared by `kvm_check_and_inject_events` and `kvm_vcpu_reset`',
        source: `exception of ${arch}`,
      },
      mp_state: { by: '`kvm_set_mp_state`', source: arch },
      task_state: {
        by:
          '`kvm_vcpu_block` and `schedule` of the thread; who wakes it: ' +
          '`kvm_vcpu_wake_up`, `send_signal_locked`',
        source: '__state of struct task_struct, include/linux/sched.h',
      },
      exit_reason: {
        by:
          '`handleRequests` of `vcpu_enter_guest`, `vmx_handle_exit`; `vcpu_run` as ' +
          'KVM_RUN returns and as it begins again',
        source: 'struct kvm_run, include/uapi/linux/kvm.h',
      },
      srcu_idx:
        '`vcpu_run`, `vcpu_enter_guest`, `vcpu_block`: srcu is dropped in the guest and ' +
        'in sleep',
      apic_base: { by: 'set at creation, `__kvm_apic_set_base`', source: `${arch}; SDM 11.4.4` },
      apic_attention: {
        by:
          '`kvm_lapic_set_vapic_addr`, `apic_sync_pv_eoi_to_guest`, ' +
          '`apic_sync_pv_eoi_from_guest`, `kvm_lapic_reset`',
        source: arch,
      },
      ioapic_handled_vectors: {
        by: 'emptied by `vcpu_scan_ioapic`, filled by `kvm_scan_ioapic_irq`',
        source: arch,
      },
      highest_stale_pending_ioapic_eoi: {
        by: '`vcpu_scan_ioapic`, `kvm_scan_ioapic_irq`',
        source: arch,
      },
      pending_ioapic_eoi: { by: '`kvm_ioapic_send_eoi`', source: arch },
      load_eoi_exitmap_pending: {
        by: 'set by `vcpu_scan_ioapic`, cleared by `__nested_vmx_vmexit`',
        source: arch,
      },
      pending_external_vector: {
        by: '`kvm_vcpu_ioctl_interrupt`; `kvm_cpu_get_extint` takes it',
        source: arch,
      },
      apic_arb_prio: {
        by: '`__apic_accept_irq`; cleared by `kvm_lapic_reset` and `kvm_apic_set_state`',
        source: arch,
      },
      nmi_injected: {
        by:
          'set by `kvm_check_and_inject_events`, and by `vmx_complete_interrupts` for ' +
          'one that was not delivered, which clears it; `vmx_cancel_injection`, ' +
          '`kvm_vcpu_reset`, `kvm_vcpu_ioctl_x86_set_vcpu_events`',
        source: arch,
      },
      nmi_pending: {
        by:
          '`process_nmi` adds what is queued; `kvm_check_and_inject_events` takes ' +
          'one; `kvm_vcpu_reset`, `kvm_vcpu_ioctl_x86_set_vcpu_events`',
        source: arch,
      },
      nmi_queued: {
        by:
          '`kvm_inject_nmi`, `kvm_vcpu_ioctl_x86_set_vcpu_events`; emptied by `process_nmi` and ' +
          '`kvm_vcpu_reset`',
        source: arch,
      },
      smi_pending: {
        by:
          'set by `process_smi`; cleared by `kvm_check_and_inject_events` and ' +
          '`kvm_vcpu_reset`; `kvm_vcpu_ioctl_x86_set_vcpu_events`',
        source: arch,
      },
      in_smm: {
        by:
          'set by `enter_smm`, cleared by `emulator_leave_smm` and `kvm_vcpu_reset`; ' +
          '`kvm_vcpu_ioctl_x86_set_vcpu_events`',
        source: `hflags of ${arch}`,
      },
      pv_unhalted: {
        by: 'set by `__apic_accept_irq`, cleared by `kvm_set_mp_state`',
        source: `pv of ${arch}`,
      },
      tpr_access_reporting: {
        by: '`vcpu_ioctl_tpr_access_reporting` (KVM_TPR_ACCESS_REPORTING)',
        source: arch,
      },
      guest_debug_blockirq: {
        by: '`kvm_arch_vcpu_ioctl_set_guest_debug`',
        source: 'guest_debug of struct kvm_vcpu, include/linux/kvm_host.h',
      },
      lvt_cmci: {
        by: 'set at creation; the kernel: kvm_vcpu_ioctl_x86_setup_mce',
        source: `mcg_cap of ${arch}`,
      },
      preempted: 'set by `kvm_sched_out`, cleared by `kvm_sched_in`',
      blocking: {
        by: '`kvm_vcpu_block`',
        source: 'kvm_vcpu_is_blocking(), include/linux/kvm_host.h',
      },
      scheduled_out: 'set by `kvm_sched_out`, cleared by `kvm_sched_in`',
      need_resched: {
        by: 'set by `resched_curr`, cleared by `schedule`',
        source: 'TIF_NEED_RESCHED, arch/x86/include/asm/thread_info.h',
      },
      sched_cpu: {
        by: '`set_next_task`; `schedule` takes it',
        source: 'task_cpu(), include/linux/sched.h',
      },
      on_wakeup_list: {
        by: 'added by `pi_enable_wakeup_handler`, removed by `vmx_vcpu_pi_load`',
        source:
          'pi_wakeup_list of struct vcpu_vt (struct vcpu_vmx before), ' +
          'arch/x86/kvm/vmx/common.h',
      },
      hv_deadline_tsc: { by: '`vmx_set_hv_timer`, `vmx_cancel_hv_timer`', source: vmx },
      mmio_needed: {
        by: 'set by `x86_emulate_instruction`, cleared by `complete_emulated_mmio`',
        source: 'struct kvm_vcpu, include/linux/kvm_host.h',
      },
      request_interrupt_window: {
        by: 'user space, between two KVM_RUN: `offerExtint`',
        source: 'struct kvm_run, include/uapi/linux/kvm.h',
      },
      ready_for_interrupt_injection: {
        by: '`saveReadiness`, as KVM_RUN returns (post_kvm_run_save)',
        source: 'struct kvm_run, include/uapi/linux/kvm.h',
      },
      sigpending: {
        by: 'set by `send_signal_locked`, cleared by `returnToUserSpace`',
        source: 'TIF_SIGPENDING, arch/x86/include/asm/thread_info.h',
      },
      mutex_waiters: {
        by: '`withMutex`, around an ioctl of the vCPU',
        source: 'mutex of struct kvm_vcpu, include/linux/kvm_host.h',
      },
      smm_inside_nmi_mask: {
        by:
          '`enter_smm`, `emulator_leave_smm`, `kvm_vcpu_reset`, ' +
          '`kvm_vcpu_ioctl_x86_set_vcpu_events`',
        source: `hflags of ${arch}`,
      },
      preemption_timer_expiry: {
        by: 'the CPU at VM entry: `startPreemptionTimer`',
        source: 'SDM 26.5.1; 27.7.4',
      },
    },
  ),
  helpFor(
    Mmu,
    {
      source: 'struct kvm_mmu, arch/x86/include/asm/kvm_host.h',
      by: '`kvm_mmu_load`; −1 of L2 by `freeGuestRoot`',
    },
    {
      root: { source: 'root.hpa of struct kvm_mmu, arch/x86/include/asm/kvm_host.h' },
    },
  ),
  helpFor(
    PvEoi,
    { source: 'pv_eoi of struct kvm_vcpu_arch, arch/x86/include/asm/kvm_host.h' },
    {
      msr_val: '`kvm_lapic_set_pv_eoi`; cleared by `kvm_lapic_reset`',
    },
  ),
  helpFor(
    QueuedInterrupt,
    {
      source: 'struct kvm_queued_interrupt, arch/x86/include/asm/kvm_host.h',
      by: '`kvm_queue_interrupt`, `kvm_vcpu_ioctl_x86_set_vcpu_events`',
    },
    {
      injected:
        'set by `kvm_queue_interrupt`; cleared by `vmx_complete_interrupts` and ' +
        '`vmx_cancel_injection`, which set it again for what was not delivered, and by ' +
        '`kvm_vcpu_reset`; `kvm_vcpu_ioctl_x86_set_vcpu_events`',
    },
  ),
  helpFor(MsrBitmap, {
    source: 'SDM 25.6.9; msr_bitmap of struct loaded_vmcs, arch/x86/kvm/vmx/vmcs.h',
    by:
      'of L1 `vmx_update_msr_bitmap_x2apic`; of L2 `enter_vmx_operation`, then at each entry ' +
      '`nested_vmx_prepare_msr_bitmap`',
  }),
  helpFor(
    RunMmio,
    {
      source: 'mmio of struct kvm_run, include/uapi/linux/kvm.h',
      by: '`x86_emulate_instruction`, for KVM_EXIT_MMIO',
    },
    { data: '`x86_emulate_instruction`, of a read `userMmio`' },
  ),
  helpFor(SmramState, {
    source: 'struct kvm_smram_state_64, arch/x86/kvm/smm.h',
    by: '`enter_smm`',
  }),
  helpFor(
    Guest,
    { source: 'the model: what of the guest matters here, main/sim/hw' },
    {
      value: {
        by:
          'the guest by `guestInstruction`; what KVM emulates for it: ' +
          '`x86_emulate_instruction`, `complete_emulated_mmio`, `kvm_get_msr_common`, ' +
          '`kvm_emulate_hypercall`, `kvm_emulate_cpuid`, `handle_vmread`',
        source: 'the model: EAX',
      },
      value_high: {
        by:
          'the guest by `guestInstruction`; what KVM emulates for it: ' +
          '`x86_emulate_instruction`, `complete_emulated_mmio`, `kvm_get_msr_common`, ' +
          '`kvm_emulate_cpuid`, `handle_vmread`',
        source: 'the model: EDX',
      },
      rflags_if: {
        by:
          '`guestInstruction` (STI, CLI, and IRET from a handler), `takeInterrupt`, ' +
          '`enter_smm`, `emulator_leave_smm`, `kvm_vcpu_reset`; between L1 and L2 ' +
          '`enterL2Registers`, `restoreL1Registers`, `enterL1Registers`, `failEntry`',
        source: 'RFLAGS.IF in the guest state, SDM 25.4.1',
      },
      virtual_interrupt_pending: {
        by:
          '`setRecognized`: after VM entry, TPR, EOI and self-IPI virtualization and ' +
          'posted-interrupt processing, and ended by delivery and VM exit',
        source: 'SDM 30.2.1',
      },
      cs_base: {
        by: '`kvm_vcpu_deliver_sipi_vector`, `kvm_vcpu_reset`',
        source:
          'CS base in the guest state, SDM 25.4.1; kvm_vcpu_deliver_sipi_vector, ' +
          'arch/x86/kvm/x86.c',
      },
      rflags_cf: {
        by: 'a VMX instruction of L1: `nested_vmx_failInvalid`, `nested_vmx_succeed`, `failValid`',
        source: 'SDM 31.2: VMfailInvalid',
      },
      rflags_zf: {
        by: 'a VMX instruction of L1: `failValid`, `nested_vmx_succeed`, `nested_vmx_failInvalid`',
        source: 'SDM 31.2: VMfailValid',
      },
      ud: {
        by: '`handle_vmxon` without VMX in CPUID; outside VMX operation `isPermitted`',
        source: 'the model; SDM 31.3',
      },
      faulted: {
        by: '`raiseGp`; `kvm_emulate_rdmsr`, `kvm_emulate_wrmsr`',
        source: 'the model; SDM 30.5',
      },
      delivered_count: {
        by: '`takeInterrupt`',
        source: 'the model: main/sim/hw/guest_interrupts.ts',
      },
      nmis: { by: '`takeNmi`', source: 'the model: main/sim/hw/guest_interrupts.ts' },
      in_service_program: {
        by:
          '`takeInterrupt`, `returnFromInterrupt`, `kvm_vcpu_reset`; between L1 and L2 ' +
          '`enterL2Registers`, `restoreL1Registers`',
        source: 'the model: main/sim/hw/guest_interrupts.ts',
      },
      smis: { by: '`enter_smm`', source: 'the model: main/sim/kvm/smm.ts' },
      verified: {
        by: '`guestInstruction`; of user space `verifyLapic`',
        source: 'the model: main/sim/hw/guest_instructions.ts',
      },
      mismatches: {
        by: '`guestInstruction`; of user space `verifyLapic`',
        source: 'the model: main/sim/hw/guest_instructions.ts',
      },
    },
  ),
  helpFor(Delivered, {
    source: 'the model: main/sim/hw/guest_interrupts.ts; SDM 27.6.1, 30.2.2',
    by: '`takeInterrupt`',
  }),
];
