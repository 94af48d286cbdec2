/** Help: the local APIC and its timer; of each register also the reset value and the rule. */
import { Lapic } from '../lapic.ts';
import { KvmTimer } from '../timer.ts';
import { helpFor, type Told } from './form.ts';

/** A register that KVM_SET_LAPIC restores with the page that it is in. */
const restored = (told: Told): Told => ({
  ...told,
  by: `${told.by}; KVM_SET_LAPIC (\`kvm_apic_set_state\`)`,
});

/** And that APIC-register virtualization lets the guest write: SDM 30.4.3.1. */
const written = (told: Told): Told =>
  restored({
    ...told,
    by: `${told.by}; with APIC-register virtualization the CPU (\`guestAccess\`)`,
  });

export const lapicHelp = [
  helpFor(
    Lapic,
    { source: 'struct kvm_lapic, arch/x86/kvm/lapic.h' },
    {
      id: written({
        by: '`kvm_apic_set_xapic_id`, `kvm_apic_set_x2apic_id`',
        source: 'SDM 11.4.6; reset: kvm_lapic_reset',
        rule:
          'RESET: vcpu_id, in xAPIC mode in bits 31:24; INIT keeps it; a write keeps ' +
          'bits 31:24, in x2APIC mode it is #GP',
      }),
      lvr: restored({
        by: '`kvm_apic_set_version`',
        source: 'SDM 11.4.8',
        rule:
          'read only; 0x14, the highest LVT entry in bits 23:16, bit 24 with x2APIC ' +
          'in CPUID and the IOAPIC in user space',
      }),
      tpr: written({
        by:
          '`apic_set_tpr`, `kvm_lapic_reset`; with a TPR shadow the CPU ' +
          '(`guestAccess`, `guestInstruction`)',
        source: 'SDM 11.8.3.1, 30.1.2',
        rule: 'reset 0; a write keeps bits 7:0 and computes PPR again',
      }),
      apr: {
        by: 'nobody: KVM does not implement it',
        source: 'SDM 11.6.2.4',
        rule: 'reads 0 in xAPIC mode, #GP in x2APIC mode; not writable',
      },
      ppr: restored({
        by:
          '`__apic_update_ppr`; with virtual-interrupt delivery the CPU ' +
          '(`pprVirtualization`, `tprVirtualization`, `virtualInterruptDelivery`, ' +
          '`eoiVirtualization`)',
        source: 'SDM 11.8.3.1, 30.1.3',
        rule: 'reset 0; computed again when it is read; not writable',
      }),
      eoi: written({
        by:
          'KVM stores nothing: a write runs apic_set_eoi; in x2APIC mode the CPU ' +
          '(`writeVirtualized`)',
        source: 'SDM 11.8.5, 30.1.4',
        rule: 'write only; over MMIO with any value',
      }),
      ldr: written({
        by: '`kvm_apic_set_ldr`, `kvm_apic_set_x2apic_id`',
        source: 'SDM 11.6.2.2, 11.12.10',
        rule:
          'xAPIC: reset 0, a write keeps bits 31:24; x2APIC: follows from the ID, ' +
          'cluster in bits 31:16, read only',
      }),
      dfr: written({
        by: '`kvm_apic_set_dfr`, `kvm_lapic_reset`',
        source: 'SDM 11.6.2.2',
        rule: 'reset 0xffffffff; a write keeps bits 31:28, the others are 1; not in x2APIC mode',
      }),
      spiv: written({
        by: '`apic_set_spiv`',
        source: 'SDM 11.9',
        rule:
          'reset 0xff: disabled by software; a write keeps bits 9:0, and bit 12 where ' +
          'LVR has directed EOI',
      }),
      isr: restored({
        by:
          '`apic_set_isr`, `apic_clear_isr`, `kvm_lapic_reset`; with ' +
          'virtual-interrupt delivery the CPU (`virtualInterruptDelivery`, ' +
          '`eoiVirtualization`)',
        source: 'SDM 11.8.4, 30.2.2',
        rule: 'reset 0; read only',
      }),
      tmr: restored({
        by: '`__apic_accept_irq`, `kvm_lapic_reset`',
        source: 'SDM 11.8.4',
        rule: 'reset 0; read only',
      }),
      irr: restored({
        by:
          '`apic_set_irr`, `apic_clear_irr`, `__kvm_apic_update_irr` (from PIR), ' +
          '`kvm_lapic_reset`; with virtual-interrupt delivery the CPU ' +
          '(`postedInterruptProcessing`, `selfIpiVirtualization`, ' +
          '`virtualInterruptDelivery`)',
        source: 'SDM 11.8.4, 30.2.1, 30.6',
        rule: 'reset 0; read only',
      }),
      esr: written({
        by: '`kvm_lapic_reset`; KVM reports no errors',
        source: 'SDM 11.5.3',
        rule: 'reset 0; a write is ignored, in x2APIC mode one of another value than 0 is #GP',
      }),
      lvtcmci: written({
        by:
          '`kvm_lapic_set_reg`, called by kvm_lapic_reg_write for the guest and by ' +
          '`kvm_lapic_reset`',
        source: 'SDM 11.5.1, 16.5',
        rule:
          'reset 0x10000; there with seven LVT entries (MCG_CMCI_P); a write keeps ' +
          'bits 16, 12 and 7:0, and masks while SPIV disables the APIC',
      }),
      icr: written({
        by:
          '`kvm_lapic_set_reg` of `kvm_lapic_reg_write`, `kvm_x2apic_icr_write`, ' +
          '`kvm_lapic_reset`',
        source: 'SDM 11.6.1, 11.12.9',
        rule:
          'reset 0; a write clears bit 12, sends and stores; x2APIC: 64 bits, of ' +
          'which 31:20, 17:16 and 13 must be 0',
      }),
      icr_high: restored({
        by: '`kvm_x2apic_icr_write`',
        source: 'SDM 11.12.9',
        rule: 'reset 0; written together with the low half',
      }),
      icr2: written({
        by: '`kvm_lapic_set_reg` of `kvm_lapic_reg_write`, `kvm_lapic_reset`',
        source: 'SDM 11.6.1',
        rule: 'reset 0; a write keeps bits 31:24; not in x2APIC mode',
      }),
      lvtt: written({
        by:
          '`kvm_lapic_set_reg`, called by `kvm_lapic_reg_write` for the guest and by ' +
          '`kvm_lapic_reset`',
        source: 'SDM 11.5.1, 11.5.4',
        rule:
          'reset 0x10000; a write keeps bits 16, 12, 7:0 and the timer mode, and ' +
          'masks while SPIV disables the APIC',
      }),
      lvtthmr: written({
        by:
          '`kvm_lapic_set_reg`, called by kvm_lapic_reg_write for the guest and by ' +
          '`kvm_lapic_reset`',
        source: 'SDM 11.5.1',
        rule:
          'reset 0x10000; a write keeps bits 16, 12, 10:8 and 7:0, and masks while ' +
          'SPIV disables the APIC',
      }),
      lvtpc: written({
        by:
          '`kvm_lapic_set_reg`, called by kvm_lapic_reg_write for the guest and by ' +
          '`kvm_lapic_reset`; kvm_apic_local_deliver masks it',
        source: 'SDM 11.5.1',
        rule:
          'reset 0x10000; a write keeps bits 16, 12, 10:8 and 7:0, and masks while ' +
          'SPIV disables the APIC; delivery masks it',
      }),
      lvt0: written({
        by:
          '`kvm_lapic_set_reg`, called by kvm_lapic_reg_write for the guest and by ' +
          '`kvm_lapic_reset`',
        source: 'SDM 11.5.1',
        rule:
          'reset 0x10000; at RESET of the BSP 0x700 (ExtINT), unless the quirk ' +
          'LINT0_REENABLED is disabled; a write keeps bits 16:12 and 10:0, and masks ' +
          'while SPIV disables the APIC',
      }),
      lvt1: written({
        by:
          '`kvm_lapic_set_reg`, called by kvm_lapic_reg_write for the guest and by ' +
          '`kvm_lapic_reset`',
        source: 'SDM 11.5.1',
        rule:
          'reset 0x10000; a write keeps bits 16:12 and 10:0, and masks while SPIV ' +
          'disables the APIC',
      }),
      lvterr: written({
        by:
          '`kvm_lapic_set_reg`, called by kvm_lapic_reg_write for the guest and by ' +
          '`kvm_lapic_reset`',
        source: 'SDM 11.5.1',
        rule:
          'reset 0x10000; a write keeps bits 16, 12 and 7:0, and masks while SPIV ' +
          'disables the APIC',
      }),
      tmict: written({
        by:
          '`kvm_lapic_set_reg` of `kvm_lapic_reg_write`; `apic_update_lvtt` clears it ' +
          'when the mode changes; `kvm_lapic_reset`',
        source: 'SDM 11.5.4',
        rule: 'reset 0; a write starts the timer, in TSC-deadline mode it is ignored',
      }),
      tmcct: restored({
        by: '`set_target_expiration` consumes what was restored',
        source: 'SDM 11.5.4',
        rule: 'computed when it is read, 0 in TSC-deadline mode; not writable',
      }),
      tdcr: written({
        by: '`kvm_lapic_set_reg` of `kvm_lapic_reg_write`, `kvm_lapic_reset`',
        source: 'SDM 11.5.4',
        rule: 'reset 0: divide by 2; a write keeps bits 3, 1 and 0 and rescales a running timer',
      }),
      self_ipi: {
        by: 'nobody: a write sends a fixed self IPI and is not kept',
        source: 'SDM 11.12.11',
        rule: 'write only, in x2APIC mode only; bits above 7 are #GP',
      },
      base_address: {
        by: 'set at creation (0xfee00000), `__kvm_apic_set_base`',
        source: 'struct kvm_lapic, arch/x86/kvm/lapic.h; SDM 11.4.4',
      },
      apicv_active: 'set at creation, from enable_apicv; `__kvm_vcpu_update_apicv`',
      sw_enabled: '`apic_set_spiv`',
      irr_pending:
        'set by `apic_set_irr`, `kvm_apic_update_irr` and `kvm_apic_update_apicv`; ' +
        'recomputed by `apic_clear_irr`',
      isr_count: '`apic_set_isr`, `apic_clear_isr`, `kvm_apic_update_apicv`',
      highest_isr_cache: '`apic_set_isr`, `apic_clear_isr`, `kvm_apic_update_apicv`',
      nr_lvt_entries: {
        by: 'set at creation; the kernel: kvm_create_lapic, kvm_vcpu_ioctl_x86_setup_mce',
        source: 'struct kvm_lapic, arch/x86/kvm/lapic.h; kvm_apic_calc_nr_lvt_entries',
      },
      divide_count: {
        by: '`update_divide_count`, whenever TDCR is set',
        source: 'struct kvm_lapic, arch/x86/kvm/lapic.h; SDM 11.5.4',
      },
      lvt0_in_nmi_mode: '`apic_manage_nmi_watchdog`, whenever LVT0 is set',
      guest_apic_protected: 'set at creation; the kernel: tdx_vcpu_create',
      vapic_addr: '`kvm_lapic_set_vapic_addr`',
      pending_events:
        'set by `__apic_accept_irq`, cleared by `kvm_apic_accept_events` and, while L2 runs, ' +
        '`vmx_check_nested_events`; ' +
        '`kvm_vcpu_ioctl_x86_set_vcpu_events`',
      sipi_vector: '`__apic_accept_irq`',
    },
  ),
  helpFor(
    KvmTimer,
    { source: 'struct kvm_timer, arch/x86/kvm/lapic.h' },
    {
      armed: {
        by: 'set by `hrtimer_start`, cleared by `hrtimer_cancel` and `__run_hrtimer`',
        source: 'state of struct hrtimer, include/linux/hrtimer_types.h',
      },
      running: {
        by: '`__run_hrtimer`',
        source: 'running of struct hrtimer_clock_base, include/linux/hrtimer_defs.h',
      },
      expires: {
        by: '`hrtimer_start`; a periodic timer moves on in `apic_timer_fn`',
        source: 'node.expires of struct hrtimer, include/linux/hrtimer_types.h',
      },
      period: '`set_target_expiration`; `apic_update_lvtt` stops the timer when the mode changes',
      target_expiration:
        '`set_target_expiration`, `advance_periodic_target_expiration`, ' +
        '`kvm_apic_inject_pending_timer_irqs`; `update_target_expiration` when TDCR ' +
        'changes',
      timer_mode: '`apic_update_lvtt`',
      timer_mode_mask: {
        by: 'set at creation; the kernel: kvm_vcpu_after_set_cpuid',
        source:
          'struct kvm_timer, arch/x86/kvm/lapic.h; kvm_vcpu_after_set_cpuid, ' +
          'arch/x86/kvm/cpuid.c',
      },
      tscdeadline: {
        by:
          '`kvm_set_lapic_tscdeadline_msr`; cleared by `apic_update_lvtt` and by ' +
          '`kvm_apic_inject_pending_timer_irqs`; in the other modes ' +
          '`set_target_expiration` and `advance_periodic_target_expiration` keep it ' +
          'at the expiry',
        source: 'SDM 11.5.4.1; struct kvm_timer, arch/x86/kvm/lapic.h',
      },
      expired_tscdeadline:
        'set by `apic_timer_expired`, cleared by `__kvm_wait_lapic_expire` and ' +
        '`kvm_apic_set_state`',
      timer_advance_ns: 'set at creation (1000); `adjust_lapic_timer_advance` learns',
      pending:
        'set by `apic_timer_expired`; cleared by `kvm_inject_apic_timer_irqs`, ' +
        '`__start_apic_timer`, `cancel_apic_timer`, `kvm_lapic_reg_write` (SPIV) and ' +
        '`kvm_lapic_reset`',
      hv_timer_in_use: 'set by `start_hv_timer`, cleared by `cancel_hv_timer`',
    },
  ),
];
