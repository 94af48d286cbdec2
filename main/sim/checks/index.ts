/** The catalogue of invariants, in its order. */
import { inv_apic_access_ept_match } from './apic_access/apic_access_ept_match.ts';
import { inv_apic_access_hpa } from './apic_access/apic_access_hpa.ts';
import { inv_no_raw_apic_page } from './apic_access/no_raw_apic_page.ts';
import { inv_reload_pending_during_inv } from './apic_access/reload_pending_during_inv.ts';
import {
  inv_apicv_controls,
  inv_apicv_update_serialized,
  inv_apicv_vm_vcpu,
  inv_exec_mode_controls,
  inv_vapic_page_is_regs,
  inv_x2apic_bitmap,
} from './apicv/controls.ts';
import {
  inv_rvi_matches_irr,
  inv_rvi_max,
  inv_svi_matches_isr,
  inv_vppr,
} from './apicv/virtual_interrupts.ts';
import type { Check } from './check.ts';
import { inv_mode_foreign_write, inv_mode_irqs } from './entry/mode.ts';
import { inv_entry_no_requests, inv_req_not_lost, inv_wait_ack } from './entry/requests.ts';
import { inv_apic_map_fresh } from './lapic/apic_map.ts';
import { inv_eoi_bitmap, inv_eoi_reaches_ioapic, inv_tmr_before_irr } from './lapic/eoi.ts';
import { inv_extint_not_lost, inv_init_clears_sipi, inv_sipi_vector } from './lapic/events.ts';
import {
  inv_irr_hint,
  inv_isr_hint,
  inv_isr_unique_class,
  inv_ppr_consistent,
} from './lapic/priority.ts';
import { inv_lvt_masked_when_disabled, inv_sw_enabled_mirror } from './lapic/registers.ts';
import { inv_pv_eoi, inv_vapic_sync } from './lapic/shared_memory.ts';
import { inv_timer_single, inv_tscdeadline_mode } from './lapic/timer.ts';
import { inv_freed_frame_untouched } from './mmu/freed_frame_untouched.ts';
import {
  inv_inprogress_balance,
  inv_memslot_stable_in_inv,
  inv_mn_count,
  inv_range_covers,
  inv_seq_monotonic,
} from './mmu/invalidation.ts';
import { inv_no_stale_tlb } from './mmu/no_stale_tlb.ts';
import { inv_mapping_balance, inv_pin_balance } from './nested/balance.ts';
import { inv_vmcs12_dirty_tracked } from './nested/dirty.ts';
import {
  inv_gpc_hpa_coherent,
  inv_gpc_lock_held_on_use,
  inv_gpc_no_sleep_locked,
  inv_gpc_on_list,
  inv_gpc_owner,
  inv_gpc_progress,
  inv_no_gpc_pin,
} from './nested/gpc.ts';
import { inv_gpc_lock_order } from './nested/gpc_lock_order.ts';
import {
  inv_nested_pages_match,
  inv_no_apic_slot_in_l2,
  inv_vmcs02_equals_gpc,
} from './nested/pages.ts';
import { inv_cached_nv, inv_nested_pi_progress, inv_pi_pending_source } from './nested/posted.ts';
import {
  inv_run_pending,
  inv_vmcs_loaded,
  inv_vmcs02_only_l2_state,
  inv_vmcs12_private,
} from './nested/vmcs.ts';
import { inv_blocked_has_no_irq, inv_pi_not_lost } from './posted/delivery.ts';
import { inv_on_notified, inv_pid_ndst, inv_pid_nv, inv_pir_on } from './posted/descriptor.ts';

export const checks: readonly Check[] = [
  inv_mode_foreign_write,
  inv_mode_irqs,
  inv_entry_no_requests,
  inv_wait_ack,
  inv_req_not_lost,
  inv_no_stale_tlb,
  inv_apic_access_hpa,
  inv_apic_access_ept_match,
  inv_no_raw_apic_page,
  inv_freed_frame_untouched,
  inv_reload_pending_during_inv,
  inv_inprogress_balance,
  inv_mn_count,
  inv_range_covers,
  inv_seq_monotonic,
  inv_memslot_stable_in_inv,
  inv_vapic_page_is_regs,
  inv_apicv_controls,
  inv_apicv_vm_vcpu,
  inv_apicv_update_serialized,
  inv_exec_mode_controls,
  inv_x2apic_bitmap,
  inv_pid_nv,
  inv_pid_ndst,
  inv_pir_on,
  inv_on_notified,
  inv_pi_not_lost,
  inv_blocked_has_no_irq,
  inv_rvi_matches_irr,
  inv_rvi_max,
  inv_svi_matches_isr,
  inv_vppr,
  inv_ppr_consistent,
  inv_irr_hint,
  inv_isr_hint,
  inv_isr_unique_class,
  inv_sw_enabled_mirror,
  inv_lvt_masked_when_disabled,
  inv_tmr_before_irr,
  inv_eoi_reaches_ioapic,
  inv_eoi_bitmap,
  inv_apic_map_fresh,
  inv_sipi_vector,
  inv_init_clears_sipi,
  inv_timer_single,
  inv_tscdeadline_mode,
  inv_vapic_sync,
  inv_pv_eoi,
  inv_extint_not_lost,
  inv_no_apic_slot_in_l2,
  inv_vmcs_loaded,
  inv_vmcs02_only_l2_state,
  inv_nested_pages_match,
  inv_gpc_hpa_coherent,
  inv_vmcs02_equals_gpc,
  inv_gpc_on_list,
  inv_gpc_lock_held_on_use,
  inv_gpc_no_sleep_locked,
  inv_gpc_lock_order,
  inv_gpc_progress,
  inv_gpc_owner,
  inv_mapping_balance,
  inv_pin_balance,
  inv_no_gpc_pin,
  inv_vmcs12_dirty_tracked,
  inv_pi_pending_source,
  inv_nested_pi_progress,
  inv_run_pending,
  inv_cached_nv,
  inv_vmcs12_private,
];
