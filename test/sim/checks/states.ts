// For each invariant a state that breaks it, and what also excuses that state.

import { kvm_make_request, noteDecided } from '#sim/kvm/kvm_main.ts';
import { apicAccessGfn } from '#sim/state/addresses.ts';
import { apicMapDirty } from '#sim/state/apic_map.ts';
import { X2APIC_ENABLE } from '#sim/state/apicdef.ts';
import { redirection } from '#sim/state/ioapic.ts';
import { apicEvent } from '#sim/state/lapic.ts';
import { POSTED_INTR_WAKEUP_VECTOR } from '#sim/state/pi_desc.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { apicAttention, taskState, vcpuMode } from '#sim/state/vcpu.ts';
import { apicvInhibitReason, irqchipMode } from '#sim/state/vm.ts';
import { secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';

const PAGE = 4096;

/** For each check, the smallest change of a settled machine that breaks it. */
export const violations: Readonly<Record<string, (m: Machine) => void>> = {
  'inv-mode-foreign-write': (m) => {
    m.vm.spec.foreign_mode_writes++;
  },
  'inv-mode-irqs': (m) => {
    m.vcpu[0]!.mode = vcpuMode.IN_GUEST_MODE;
  },
  'inv-entry-no-requests': (m) => {
    kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH);
    noteDecided(m, 0);
  },
  'inv-wait-ack': (m) => {
    m.vm.spec.unacked_waits++;
  },
  'inv-req-not-lost': (m) => {
    kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH);
    m.vcpu[0]!.requests.clear(KVM_REQ.TLB_FLUSH);
  },
  'inv-no-stale-tlb': (m) => {
    m.ept[0]!.spte[0]!.present = false;
  },
  'inv-apic-access-hpa': (m) => {
    m.vcpu[0]!.vmcs01.apic_access_addr += PAGE;
  },
  'inv-apic-access-ept-match': (m) => {
    m.ept[0]!.spte[0]!.pfn++;
  },
  'inv-no-raw-apic-page': (m) => {
    m.vm.spec.raw_apic_accesses++;
  },
  'inv-freed-frame-untouched': (m) => {
    m.vm.spec.freed_frame_writes++;
  },
  'inv-reload-pending-during-inv': (m) => {
    m.vm.spec.apic_pte_changed = 1;
    m.pte[0]!.pfn++;
  },
  'inv-inprogress-balance': (m) => {
    m.vm.mmu_invalidate_in_progress++;
  },
  'inv-mn-count': (m) => {
    m.vm.mmu_invalidate_in_progress++;
  },
  'inv-range-covers': (m) => {
    Object.assign(m.vm.spec.ongoing[0]!, { active: true, gfn: apicAccessGfn });
    m.vm.mmu_invalidate_range_start = apicAccessGfn - 1;
    m.vm.mmu_invalidate_range_end = apicAccessGfn;
  },
  'inv-seq-monotonic': (m) => {
    m.vm.spec.ends = 2;
    m.vm.mmu_invalidate_seq = 1;
  },
  'inv-memslot-stable-in-inv': (m) => {
    m.vm.spec.slot_changes_in_invalidation++;
  },
  'inv-vapic-page-is-regs': (m) => {
    m.vcpu[0]!.vmcs01.virtual_apic_page_addr += PAGE;
  },
  'inv-apicv-controls': (m) => {
    m.vcpu[0]!.vmcs01.secondary_vm_exec_control.clear(secondaryControl.VIRTUAL_INTR_DELIVERY);
  },
  'inv-apicv-vm-vcpu': (m) => {
    m.vm.apicv_inhibit_reasons.set(apicvInhibitReason.BLOCKIRQ);
  },
  'inv-apicv-update-serialized': (m) => {
    m.vm.spec.reasons_while_followed++;
  },
  'inv-exec-mode-controls': (m) => {
    m.vcpu[0]!.apic_base += X2APIC_ENABLE;
  },
  'inv-x2apic-bitmap': (m) => {
    m.vcpu[0]!.msr_bitmap.x2apic_write.clear(0x30);
  },
  'inv-pid-nv': (m) => {
    m.vcpu[0]!.pi_desc.nv = POSTED_INTR_WAKEUP_VECTOR;
  },
  'inv-pid-ndst': (m) => {
    m.vcpu[0]!.pi_desc.sn = true;
  },
  'inv-pir-on': (m) => {
    m.vcpu[0]!.pi_desc.pir.set(0x51);
  },
  'inv-on-notified': (m) => {
    m.vcpu[0]!.non_root = true;
    m.vcpu[0]!.apic.sw_enabled = true;
    m.vcpu[0]!.pi_desc.on = true;
  },
  'inv-pi-not-lost': (m) => {
    Object.assign(m.vcpu[0]!, { non_root: true });
    m.vcpu[0]!.guest.rflags_if = true;
    m.vcpu[0]!.pi_desc.pir.set(0x51);
  },
  'inv-blocked-has-no-irq': (m) => {
    m.vcpu[0]!.task_state = taskState.BLOCKED;
    m.vcpu[0]!.guest.rflags_if = true;
    m.vcpu[0]!.apic.irr.set(0x51);
  },
  'inv-rvi-matches-irr': (m) => {
    m.vcpu[0]!.apic.sw_enabled = true;
    m.vcpu[0]!.vmcs01.guest_intr_status = 0x51;
  },
  'inv-rvi-max': (m) => {
    m.vcpu[0]!.apic.sw_enabled = true;
    m.vcpu[0]!.apic.irr.set(0x51);
  },
  'inv-svi-matches-isr': (m) => {
    m.vcpu[0]!.apic.isr.set(0x51);
  },
  'inv-vppr': (m) => {
    m.vcpu[0]!.apic.tpr = 0x20;
  },
  'inv-ppr-consistent': (m) => {
    m.vcpu[0]!.spec.ppr_update = 0x20;
  },
  'inv-irr-hint': (m) => {
    m.vcpu[0]!.apic.irr_pending = false;
    m.vcpu[0]!.apic.irr.set(0x51);
  },
  'inv-isr-hint': (m) => {
    m.vcpu[0]!.apic.apicv_active = false;
  },
  'inv-isr-unique-class': (m) => {
    m.vcpu[0]!.spec.wrong_eois++;
  },
  'inv-sw-enabled-mirror': (m) => {
    m.vcpu[0]!.apic.sw_enabled = true;
  },
  'inv-lvt-masked-when-disabled': (m) => {
    m.vcpu[0]!.spec.lvts_to_mask = true;
    m.vcpu[0]!.apic.lvterr = 0xfe;
  },
  'inv-tmr-before-irr': (m) => {
    m.vcpu[0]!.spec.untimely_tmr++;
  },
  'inv-eoi-reaches-ioapic': (m) => {
    m.vm.irqchip_mode = irqchipMode.KERNEL;
    m.vm.ioapic.redirtbl[10]!.low = 0x61 | redirection.LEVEL | redirection.REMOTE_IRR;
  },
  'inv-eoi-bitmap': (m) => {
    m.vcpu[0]!.ioapic_handled_vectors.set(0x61);
  },
  'inv-apic-map-fresh': (m) => {
    m.vcpu[0]!.apic.id = 5 << 24;
  },
  'inv-sipi-vector': (m) => {
    m.vcpu[0]!.apic.pending_events.set(apicEvent.SIPI);
    m.vcpu[0]!.spec.sipi_vector = 0x9a;
  },
  'inv-init-clears-sipi': (m) => {
    m.vcpu[0]!.spec.sipis_after_init++;
  },
  'inv-timer-single': (m) => {
    m.vcpu[0]!.spec.double_expiries++;
  },
  'inv-tscdeadline-mode': (m) => {
    m.vcpu[0]!.spec.timer_mode_breaks++;
  },
  'inv-vapic-sync': (m) => {
    const [pte] = m.pte;
    Object.assign(pte!, { used: true, present: true });
    m.vcpu[0]!.apic.vapic_cache.hva = pte!.hva + 8;
    m.vcpu[0]!.spec.vapic_word = 0x5100_0000;
    m.vcpu[0]!.spec.vapic_synced = true;
  },
  'inv-pv-eoi': (m) => {
    m.vcpu[0]!.apic_attention.set(apicAttention.PV_EOI_PENDING);
  },
  'inv-extint-not-lost': (m) => {
    m.vcpu[0]!.spec.extints++;
  },
};

/** What also excuses the state, where the invariant knows an excuse. */
export const excuses: readonly (readonly [string, string, (m: Machine) => void])[] = [
  [
    'inv-mode-irqs',
    'the guest runs',
    (m) => {
      m.vcpu[0]!.non_root = true;
    },
  ],
  ['inv-entry-no-requests', 'an IPI is pending', (m) => m.cpu[0]!.pending.set(0)],
  [
    'inv-entry-no-requests',
    'mode is EXITING',
    (m) => {
      m.vcpu[0]!.mode = vcpuMode.EXITING_GUEST_MODE;
    },
  ],
  [
    'inv-entry-no-requests',
    'its maker has still to look at the mode',
    (m) => {
      m.vcpu[0]!.spec.makers_in_flight = 1;
    },
  ],
  ['inv-req-not-lost', 'the bit is set', (m) => m.vcpu[0]!.requests.set(KVM_REQ.TLB_FLUSH)],
  [
    'inv-no-stale-tlb',
    'a flush is due, and the vCPU is interrupted for it',
    (m) => {
      m.vcpu[0]!.requests.set(KVM_REQ.TLB_FLUSH);
      m.vcpu[0]!.mode = vcpuMode.EXITING_GUEST_MODE;
    },
  ],
  [
    'inv-no-stale-tlb',
    'whoever zapped has yet to ask for the flush',
    (m) => {
      m.vm.spec.zap_unflushed = 1;
    },
  ],
  [
    'inv-range-covers',
    'the range reaches one page further',
    (m) => {
      m.vm.mmu_invalidate_range_end++;
    },
  ],
  [
    'inv-range-covers',
    'that invalidation has ended',
    (m) => {
      m.vm.spec.ongoing[0]!.active = false;
    },
  ],
  [
    'inv-seq-monotonic',
    'each end raised the number',
    (m) => {
      m.vm.mmu_invalidate_seq = 2;
    },
  ],
  [
    'inv-apic-access-hpa',
    '->invalidate_range has yet to announce the change',
    (m) => {
      m.vm.spec.apic_unannounced = 1;
    },
  ],
  [
    'inv-reload-pending-during-inv',
    '->invalidate_range has yet to announce the change',
    (m) => {
      m.vm.spec.apic_unannounced = 1;
    },
  ],
  [
    'inv-apic-access-hpa',
    'RELOAD is pending inside an invalidation',
    (m) => {
      m.vm.mmu_invalidate_in_progress = 1;
      m.vcpu[0]!.requests.set(KVM_REQ.APIC_PAGE_RELOAD);
    },
  ],
  [
    'inv-apic-access-hpa',
    'L2 is active',
    (m) => {
      m.vcpu[0]!.guest_mode = true;
    },
  ],
  [
    'inv-reload-pending-during-inv',
    'RELOAD is pending',
    (m) => m.vcpu[0]!.requests.set(KVM_REQ.APIC_PAGE_RELOAD),
  ],
  [
    'inv-reload-pending-during-inv',
    'the reload is under way',
    (m) => {
      m.vcpu[0]!.spec.in_reload = true;
    },
  ],
  [
    'inv-reload-pending-during-inv',
    'L2 ends, and the reload that was put off meanwhile is about to be asked for',
    (m) => {
      m.vcpu[0]!.nested.reload_vmcs01_apic_access_page = true;
    },
  ],
  [
    'inv-pid-nv',
    'it is on a wake-up list',
    (m) => {
      m.vcpu[0]!.on_wakeup_list = 0;
    },
  ],
  [
    'inv-pid-nv',
    'its thread is between the list and NV',
    (m) => {
      m.vcpu[0]!.spec.in_pi_switch = true;
    },
  ],
  [
    'inv-pir-on',
    'a sender is about to set ON',
    (m) => {
      m.vcpu[0]!.spec.posting = 1;
    },
  ],
  [
    'inv-pir-on',
    'PIR is being harvested',
    (m) => {
      m.vcpu[0]!.spec.harvesting = 1;
    },
  ],
  [
    'inv-pir-on',
    'the vCPU is on no CPU, with SN set',
    (m) => {
      m.vcpu[0]!.pi_desc.sn = true;
      m.vcpu[0]!.scheduled_out = true;
    },
  ],
  ['inv-on-notified', 'the notification is pending', (m) => m.cpu[0]!.pending.set(2)],
  [
    'inv-on-notified',
    'its APIC is software-disabled: it takes no interrupt until a write has exited',
    (m) => {
      m.vcpu[0]!.apic.sw_enabled = false;
    },
  ],
  [
    'inv-on-notified',
    'the vCPU was told to exit',
    (m) => {
      m.vcpu[0]!.mode = vcpuMode.EXITING_GUEST_MODE;
    },
  ],
  [
    'inv-on-notified',
    'its sender is about to send it',
    (m) => {
      m.vcpu[0]!.spec.notifying = 1;
    },
  ],
  [
    'inv-pi-not-lost',
    'the guest holds interrupts back',
    (m) => {
      m.vcpu[0]!.guest.rflags_if = false;
    },
  ],
  [
    'inv-blocked-has-no-irq',
    'the task priority holds it back',
    (m) => {
      m.vcpu[0]!.apic.tpr = 0x50;
    },
  ],
  [
    'inv-rvi-max',
    'a sender has found APICv off and is about to kick',
    (m) => {
      m.vcpu[0]!.spec.accepting = 1;
    },
  ],
  [
    'inv-irr-hint',
    'the sender is about to set it',
    (m) => {
      m.vcpu[0]!.spec.irr_hint_open = 1;
    },
  ],
  [
    'inv-sipi-vector',
    'a later SIPI has stored its vector',
    (m) => {
      m.vcpu[0]!.spec.sipi_stored = 1;
    },
  ],
  [
    'inv-apic-map-fresh',
    'the map is DIRTY',
    (m) => {
      m.vm.apic_map_dirty = apicMapDirty.DIRTY;
    },
  ],
];
