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
];
