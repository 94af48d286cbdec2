// What the traces about caches of L1's pages look at: one page of L1, its cache, and vmcs02.

import { pteOf } from '#sim/host/page_table.ts';
import { hvaOfGuestPage } from '#sim/state/addresses.ts';
import { gpcOf } from '#sim/state/gpc.ts';
import { hpa_to_pfn } from '#sim/state/machine.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import type { Machine } from '#sim/steps.ts';

/** Numbers of the embedded caches of vCPU 0. */
export const VAPIC = 1;
export const PI_DESC = 2;

export const gpcState = (m: Machine, id: number) => {
  const { active, valid, pfn } = gpcOf(m, id);
  return [active, valid, pfn];
};

/** The state of a trace: the frame P is a number that the run gives. */
export const vapicState = (m: Machine) => ({
  gpc: gpcState(m, VAPIC),
  va: hpa_to_pfn(m.vcpu[0]!.vmcs02.virtual_apic_page_addr),
  pt: m.pte[pteOf(m, hvaOfGuestPage(6))]?.pfn ?? -1,
  freed: m.frame.filter(({ freed }) => freed).map(({ index }) => index),
  get: m.vcpu[0]!.requests.has(KVM_REQ.GET_NESTED_STATE_PAGES),
});
