/** Help: IOAPIC, PIC, routes, posted interrupts, and the map that finds a local APIC. */

import { ApicMap, MapSlot, PhysMapEntry } from '../apic_map.ts';
import { Ioapic, MsiRoute, Pic, RedirectionEntry, RtcVector } from '../ioapic.ts';
import { PiDesc } from '../pi_desc.ts';
import { helpFor } from './form.ts';

export const irqchipHelp = [
  helpFor(
    RedirectionEntry,
    {
      source: 'union kvm_ioapic_redirect_entry, arch/x86/kvm/ioapic.h',
      by: '`ioapic_write_indirect`; of an IOAPIC in user space `programRoute`',
    },
    {
      low:
        '`ioapic_write_indirect`; remote IRR: set by `ioapic_service`, cleared by ' +
        '`kvm_ioapic_update_eoi_one`; of an IOAPIC in user space `programRoute`',
      eoi_count: {
        by: '`kvm_ioapic_update_eoi_one`; cleared by `ioapic_write_indirect`',
        source: 'irq_eoi of struct kvm_ioapic, arch/x86/kvm/ioapic.h',
      },
    },
  ),
  helpFor(RtcVector, {
    source: 'struct dest_map, arch/x86/kvm/ioapic.h',
    by: '`__apic_accept_irq`; on restore `kvm_rtc_eoi_tracking_restore_one`',
  }),
  helpFor(
    Ioapic,
    { source: 'struct kvm_ioapic, arch/x86/kvm/ioapic.h' },
    {
      lock:
        'whoever takes and drops it: `kvm_ioapic_set_irq`, `ioapic_mmio_read`, ' +
        '`ioapic_mmio_write`, `kvm_ioapic_update_eoi`, `kvm_ioapic_scan_entry`, ' +
        '`kvm_rtc_eoi_tracking_restore_one`, `kvm_ioapic_eoi_inject_work`; of an IOAPIC in user ' +
        'space `locked`',
      ioregsel: '`ioapic_mmio_write`; of an IOAPIC in user space `userMmio`',
      id: '`ioapic_write_indirect`',
      irr: 'set and cleared by `ioapic_set_irq`, `ioapic_write_indirect` and `ioapic_service`',
      line: {
        by: '`kvm_ioapic_set_irq`',
        source: 'irq_states of struct kvm_ioapic, arch/x86/kvm/ioapic.h',
      },
      rtc_pending_eoi: {
        by:
          'set by `ioapic_service`; `kvm_ioapic_update_eoi` counts down; on restore ' +
          '`kvm_rtc_eoi_tracking_restore_one`',
        source: 'struct rtc_status, arch/x86/kvm/ioapic.h',
      },
      rtc_dest: {
        by:
          'set by `__apic_accept_irq`, cleared by `kvm_ioapic_update_eoi`; on restore ' +
          '`kvm_rtc_eoi_tracking_restore_one`',
        source: 'struct dest_map, arch/x86/kvm/ioapic.h',
      },
      eoi_inject: 'set by `kvm_ioapic_update_eoi_one`, cleared by `kvm_ioapic_eoi_inject_work`',
      eoi_inject_due: '`kvm_ioapic_update_eoi_one`',
      successive_irq_max: {
        by: 'set at creation, from the scenario',
        source: 'IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT, arch/x86/kvm/ioapic.c',
      },
    },
  ),
  helpFor(
    MsiRoute,
    {
      source: 'struct kvm_kernel_irq_routing_entry, include/linux/kvm_host.h',
      by: '`kvm_set_irq_routing`, for user space (KVM_SET_GSI_ROUTING)',
    },
    {
      line: {
        by: '`setUserLine`',
        source: 'the model: the IOAPIC of user space, main/sim/acts/user_ioapic.ts',
      },
      remote_irr: {
        by: 'set by `takeToSend`, cleared by `userIoapicEoi`',
        source: 'the model: the IOAPIC of user space, main/sim/acts/user_ioapic.ts',
      },
    },
  ),
  helpFor(
    Pic,
    { source: 'struct kvm_pic, arch/x86/kvm/irq.h', by: '`pic_irq_request`' },
    {
      output:
        '`pic_irq_request`; cleared by `kvm_pic_read_irq`; of a PIC in user space ' +
        '`setPicOutput` and `offerExtint`',
      vector: '`pic_irq_request`; of a PIC in user space `setPicOutput`',
    },
  ),
  helpFor(
    PiDesc,
    { source: 'struct pi_desc, arch/x86/include/asm/posted_intr.h; SDM 30.6' },
    {
      pir:
        'set by `__vmx_deliver_posted_interrupt`, by the CPU of a sender ' +
        '(`ipiVirtualization`) and by the IOMMU (`postInterrupt`); harvested by ' +
        '`vmx_sync_pir_to_irr` (`__kvm_apic_update_irr`) and by the CPU ' +
        '(`postedInterruptProcessing`); dropped by `vmx_apicv_pre_state_restore`',
      on:
        'set by `__vmx_deliver_posted_interrupt`, by the CPU of a sender ' +
        '(`ipiVirtualization`), by the IOMMU (`postInterrupt`), and by ' +
        '`vmx_vcpu_pi_load` and `vmx_vcpu_pi_put` for what was posted while SN was set; ' +
        'cleared by `vmx_sync_pir_to_irr`, by `vmx_apicv_pre_state_restore`, and by the CPU ' +
        '(`postedInterruptProcessing`)',
      sn: {
        by:
          'set by `vmx_vcpu_pi_put` when the thread is preempted, cleared by ' +
          '`vmx_vcpu_pi_load`; software senders do not look at it',
        source: 'struct pi_desc, arch/x86/include/asm/posted_intr.h; VT-d 5.2.3',
      },
      nv: '0xf1 while blocked: `pi_enable_wakeup_handler`; 0xf2 else: `vmx_vcpu_pi_load`',
      ndst: {
        by: '`vmx_vcpu_pi_load` when the vCPU has changed its CPU, `pi_enable_wakeup_handler`',
        source: 'struct pi_desc, arch/x86/include/asm/posted_intr.h; VT-d 5.2.3',
      },
    },
  ),
  helpFor(PhysMapEntry, {
    source: 'struct kvm_apic_map, arch/x86/include/asm/kvm_host.h (phys_map)',
    by: '`kvm_recalculate_apic_map`, by way of `kvm_recalculate_phys_map`',
  }),
  helpFor(MapSlot, {
    source: 'struct kvm_apic_map, arch/x86/include/asm/kvm_host.h',
    by: '`kvm_recalculate_apic_map`, by way of `kvm_recalculate_logical_map`',
  }),
  helpFor(
    ApicMap,
    {
      source: 'struct kvm_apic_map, arch/x86/include/asm/kvm_host.h',
      by: '`kvm_recalculate_apic_map`',
    },
    {
      logical_mode: '`kvm_recalculate_apic_map`, by way of `kvm_recalculate_logical_map`',
      entries: '`kvm_recalculate_apic_map`, by way of `kvm_recalculate_phys_map`',
    },
  ),
];
