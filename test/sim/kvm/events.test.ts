// INIT and SIPI: what a vCPU does with them, and what keeps them waiting.

import { expect, test } from 'vitest';
import { tlbFill, tlbLookup } from '#sim/hw/tlb.ts';
import { kvm_apic_accept_events } from '#sim/kvm/lapic/events.ts';
import { kvm_arch_vcpu_ioctl_set_mpstate } from '#sim/kvm/mp_state.ts';
import { apicEvent } from '#sim/state/lapic.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { mpState } from '#sim/state/vcpu.ts';
import { exitReason } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, byHand, complete, goOn, goTo, smallMachine } from '../small_machine.ts';

const EINVAL = 22;
const { INIT, SIPI } = apicEvent;

const pend = (m: Machine, vcpu: number, events: readonly number[], vector = 0): void =>
  byHand(m, () => {
    for (const event of events) m.vcpu[vcpu]!.apic.pending_events.set(event);
    m.vcpu[vcpu]!.apic.sipi_vector = vector;
  });

const accept = (m: Machine, vcpu = 1): number =>
  complete(m, `vcpu${vcpu}`, () => kvm_apic_accept_events(m, vcpu));

const pending = (m: Machine, vcpu: number): number => m.vcpu[vcpu]!.apic.pending_events.word(0);

/** Two vCPUs: the boot processor, and one that waits for its start. */
const twoVcpus = (switches: Readonly<Record<string, string>> = {}): Machine =>
  smallMachine({ vcpus: 2, profile: 'k7.0', switches });

test('INIT resets an application processor, which then waits for its SIPI', () => {
  const m = twoVcpus();
  byHand(m, () => {
    m.vcpu[1]!.apic.tpr = 0x50;
    m.vcpu[1]!.apic.irr.set(0x51);
  });
  pend(m, 1, [INIT]);
  expect(accept(m)).toBe(0);
  const { apic, mp_state, requests } = m.vcpu[1]!;
  expect([mp_state, apic.tpr, apic.irr.any(), pending(m, 1)]).toEqual([
    mpState.INIT_RECEIVED,
    0,
    false,
    0,
  ]);
  expect([KVM_REQ.EVENT, KVM_REQ.APIC_PAGE_RELOAD].map((one) => requests.has(one))).toEqual([
    true,
    true,
  ]);
});

test('the boot processor runs again at once', () => {
  const m = twoVcpus();
  pend(m, 0, [INIT]);
  accept(m, 0);
  expect(m.vcpu[0]!.mp_state).toBe(mpState.RUNNABLE);
});

test('SIPI starts the processor at its vector, and its program from the beginning', () => {
  const m = twoVcpus();
  byHand(m, () => {
    m.actor[1]!.pc = 3;
  });
  pend(m, 1, [INIT, SIPI], 0x9a);
  accept(m);
  const { mp_state, guest } = m.vcpu[1]!;
  expect([mp_state, guest.cs_base, m.actor[1]!.pc]).toEqual([mpState.RUNNABLE, 0x9_a000, 0]);
});

test('a SIPI that nobody waits for is swallowed', () => {
  const m = twoVcpus();
  pend(m, 1, [SIPI], 0x9a);
  accept(m);
  expect([m.vcpu[1]!.guest.cs_base, pending(m, 1)]).toEqual([0, 0]);
});

test.each([
  ['in_smm', 'SMM'],
  ['vmxon', 'VMX root operation'],
] as const)('%s: INIT stays and SIPI is lost in %s', (field, _place) => {
  const m = twoVcpus();
  byHand(m, () => {
    const vcpu = m.vcpu[1]!;
    if (field === 'in_smm') vcpu.in_smm = true;
    else vcpu.nested.vmxon = true;
  });
  pend(m, 1, [INIT, SIPI]);
  accept(m);
  expect([pending(m, 1), m.vcpu[1]!.mp_state]).toEqual([1 << INIT, mpState.RUNNABLE]);
});

test('INIT makes L2 exit; in VMX root operation, where L1 then is, it would wait', () => {
  const m = twoVcpus();
  byHand(m, () => {
    m.vcpu[1]!.nested.vmxon = true;
    m.vcpu[1]!.guest_mode = true;
  });
  pend(m, 1, [INIT, SIPI]);
  accept(m);
  expect([
    m.vcpu[1]!.guest_mode,
    m.vcpu[1]!.nested.cached_vmcs12.vm_exit_reason,
    pending(m, 1),
  ]).toEqual([false, exitReason.INIT_SIGNAL, 0]);
});

test('an L2 that is being entered keeps both for later', () => {
  const m = twoVcpus();
  byHand(m, () => {
    m.vcpu[1]!.guest_mode = true;
    m.vcpu[1]!.nested.nested_run_pending = true;
  });
  pend(m, 1, [INIT, SIPI]);
  expect([accept(m), pending(m, 1)]).toEqual([0, (1 << INIT) | (1 << SIPI)]);
});

test('R55: read before its bit, the vector of the SIPI is an old one', () => {
  const started = (['on', 'off'] as const).map((value) => {
    const m = twoVcpus({ 'sipi-vector-barrier': value });
    byHand(m, () => {
      m.vcpu[1]!.mp_state = mpState.INIT_RECEIVED;
      // Something to accept, so that the vCPU looks.
      m.vcpu[1]!.apic.pending_events.set(SIPI);
      m.vcpu[1]!.apic.sipi_vector = 0x10;
    });
    begin(m, 'vcpu1', () => kvm_apic_accept_events(m, 1));
    goTo(m, 'vcpu1', 'kvm_apic_accept_events', 'is SIPI pending?');
    pend(m, 1, [SIPI], 0x20);
    goOn(m, 'vcpu1');
    return m.vcpu[1]!.guest.cs_base;
  });
  expect(started).toEqual([0x2_0000, 0x1_0000]);
});

const setState = (m: Machine, state: number): number =>
  complete(m, 'user', () => kvm_arch_vcpu_ioctl_set_mpstate(m, 1, state));

test('KVM_SET_MP_STATE turns SIPI_RECEIVED into INIT_RECEIVED with a SIPI pending', () => {
  const m = twoVcpus();
  expect(setState(m, mpState.SIPI_RECEIVED)).toBe(0);
  expect([m.vcpu[1]!.mp_state, pending(m, 1)]).toEqual([mpState.INIT_RECEIVED, 1 << SIPI]);
});

test('KVM_SET_MP_STATE refuses what is no state, and a start while it is blocked', () => {
  const m = twoVcpus();
  byHand(m, () => {
    m.vcpu[1]!.smi_pending = true;
  });
  expect([17, mpState.INIT_RECEIVED, mpState.HALTED].map((state) => setState(m, state))).toEqual([
    -EINVAL,
    -EINVAL,
    0,
  ]);
});

test.each(['k6.13', 'k7.0'])('%s: INIT ends what was in service for the CPU, too', (profile) => {
  const m = smallMachine({ vcpus: 2, profile });
  byHand(m, () => {
    m.vcpu[1]!.apic.isr.set(0x51);
    m.vcpu[1]!.vmcs01.guest_intr_status = 0x5100;
  });
  pend(m, 1, [INIT]);
  accept(m);
  expect(m.vcpu[1]!.vmcs01.guest_intr_status >>> 8).toBe(0);
});

test('INIT flushes what is tagged with the VPID of the vCPU, and of no other', () => {
  const m = twoVcpus();
  byHand(m, () => tlbFill(m, 1, 0x10, 5));
  pend(m, 1, [INIT]);
  accept(m);
  expect([tlbLookup(m, 1, 0x10), tlbLookup(m, 0, 0xfee00) >= 0]).toEqual([-1, true]);
});
