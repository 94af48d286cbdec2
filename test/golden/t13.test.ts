// Trace T13 of the reference: race R39, a notification that a migration forgets.

import { expect, test } from 'vitest';
import { viewOf } from '#sim/arena/views.ts';
import { checks } from '#sim/checks/index.ts';
import { pteOf } from '#sim/host/page_table.ts';
import { vmx_get_nested_state, vmx_set_nested_state } from '#sim/kvm/vmx/nested/state.ts';
import { vmx_deliver_interrupt } from '#sim/kvm/vmx/posted_intr.ts';
import { hvaOfGuestPage, INVALID_GPA } from '#sim/state/addresses.ts';
import { type MachineView, PAGE_SIZE } from '#sim/state/machine.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { VMCS12_REVISION } from '#sim/state/vmcs12.ts';
import { type Machine, perform } from '#sim/steps.ts';
import { isOn, isPosted, l2Machine, NV, post } from '../sim/kvm/l2_machine.ts';
import { byHand } from '../sim/small_machine.ts';

const VECTOR = 0x61;
const [vapicPage, descriptorPage] = [2, 3];

const state = (m: Machine) => {
  const { nested, requests } = m.vcpu[0]!;
  return {
    pending: nested.pi_pending,
    event: requests.has(KVM_REQ.EVENT),
    on: isOn(m),
    posted: isPosted(m, VECTOR),
  };
};

/** The pages of L2 are pages of the memory of L1, as a destination finds them again. */
const giveAddresses = (m: Machine): void =>
  byHand(m, () => {
    const { nested } = m.vcpu[0]!;
    const { cached_vmcs12: vmcs12 } = nested;
    const at = (page: number) => m.pte[pteOf(m, hvaOfGuestPage(page))]!;
    Object.assign(at(vapicPage), { present: true, pfn: nested.virtual_apic_map.pfn });
    Object.assign(at(descriptorPage), { present: true, pfn: nested.pi_desc_map.pfn });
    Object.assign(nested, { vmxon_ptr: PAGE_SIZE, current_vmptr: 0 });
    Object.assign(vmcs12, {
      revision_id: VMCS12_REVISION,
      guest_rflags: 0x200,
      virtual_apic_page_addr: vapicPage * PAGE_SIZE,
      posted_intr_desc_addr: descriptorPage * PAGE_SIZE,
      vmcs_link_pointer: INVALID_GPA,
    });
  });

const broken = (m: Machine, id: string): boolean =>
  checks.find((check) => check.id === id)!.broken(viewOf<MachineView>(m.arena, m.layout), 0) !==
  undefined;

const restored = (protection: string): Machine => {
  const m = l2Machine({ switches: { 'migrate-pi-pending': protection } });
  giveAddresses(m);
  post(m, VECTOR);
  // 1. A device notifies L2.
  perform(m, 0, vmx_deliver_interrupt(m, 0, NV));
  expect(state(m)).toEqual({ pending: true, event: true, on: true, posted: true });
  // 2. User space saves, and takes the requests with the vCPU.
  perform(m, 0, vmx_get_nested_state(m, 0));
  byHand(m, () => m.vcpu[0]!.requests.clearAll());
  // 3. The destination restores.
  expect(perform(m, 0, vmx_set_nested_state(m, 0))).toBe(0);
  expect(m.vcpu[0]!.guest_mode).toBe(true);
  return m;
};

test('T13: behind the restore the descriptor says that something is posted, and nobody looks', () => {
  const m = restored('off');
  expect(state(m)).toEqual({ pending: false, event: false, on: true, posted: true });
  expect(broken(m, 'inv-pi-pending-source')).toBe(true);
  // 4. L2 runs, with the pages that GET_NESTED_STATE_PAGES gets.
  expect(m.vcpu[0]!.requests.has(KVM_REQ.GET_NESTED_STATE_PAGES)).toBe(true);
  expect(broken(m, 'inv-nested-pi-progress')).toBe(true);
});

test('T13 with pi_pending set by the restore: the descriptor is looked into', () => {
  const m = restored('on');
  expect(state(m)).toEqual({ pending: true, event: true, on: true, posted: true });
  expect(broken(m, 'inv-pi-pending-source')).toBe(false);
});
