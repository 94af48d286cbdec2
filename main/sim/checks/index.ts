/** The catalogue of invariants, in its order. */
import { inv_apic_access_ept_match } from './apic_access/apic_access_ept_match.ts';
import { inv_apic_access_hpa } from './apic_access/apic_access_hpa.ts';
import { inv_no_raw_apic_page } from './apic_access/no_raw_apic_page.ts';
import { inv_reload_pending_during_inv } from './apic_access/reload_pending_during_inv.ts';
import type { Check } from './check.ts';
import { inv_mode_foreign_write, inv_mode_irqs } from './entry/mode.ts';
import { inv_entry_no_requests, inv_req_not_lost, inv_wait_ack } from './entry/requests.ts';
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
