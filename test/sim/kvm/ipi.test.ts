// Interrupts between APICs: who is meant, what each delivery mode does, what races can see.

import { expect, test } from 'vitest';
import { kvm_recalculate_apic_map, markApicMapDirty } from '#sim/kvm/lapic/apic_map.ts';
import { kvm_apic_set_xapic_id } from '#sim/kvm/lapic/identity.ts';
import { kvm_apic_send_ipi } from '#sim/kvm/lapic/ipi.ts';
import { kvm_pv_send_ipi } from '#sim/kvm/lapic/pv_ipi.ts';
import { apicMapDirty } from '#sim/state/apic_map.ts';
import {
  APIC_DEST_ALLBUT,
  APIC_DEST_LOGICAL,
  APIC_DM_INIT,
  APIC_DM_LOWEST,
  APIC_DM_NMI,
  APIC_DM_REMRD,
  APIC_DM_SMI,
  APIC_DM_STARTUP,
  APIC_INT_ASSERT,
} from '#sim/state/apicdef.ts';
import { apicEvent } from '#sim/state/lapic.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, byHand, complete, goOn, goTo, takeStep } from '../small_machine.ts';
import { machineWith, type Wishes } from './lapic_machine.ts';

/** vCPUs with enabled APICs, the second and third under the given conditions. */
const threeVcpus = (wishes: Wishes = {}): Machine => {
  const m = machineWith({ ...wishes, vcpus: 3 });
  byHand(m, () => {
    for (const { apic, requests } of m.vcpu) {
      apic.spiv = 0x1ff;
      apic.sw_enabled = true;
      requests.clearAll();
    }
  });
  return m;
};

/** LDR of flat mode: one bit for each vCPU. */
const flat = (m: Machine): void => {
  byHand(m, () => {
    for (const { index, apic } of m.vcpu) apic.ldr = (1 << (24 + index)) >>> 0;
    markApicMapDirty(m);
  });
  complete(m, 'vcpu0', () => kvm_recalculate_apic_map(m));
};

const send = (m: Machine, icr: number, dest = 0): unknown =>
  complete(m, 'vcpu0', () => kvm_apic_send_ipi(m, 0, icr, (dest << 24) >>> 0));

const holders = (m: Machine, vector: number): number[] =>
  m.vcpu.filter(({ apic }) => apic.irr.has(vector)).map(({ index }) => index);

test('a physical destination is one vCPU, and a broadcast all of them', () => {
  const m = threeVcpus();
  expect(send(m, 0x41, 2)).toBe(1);
  expect(holders(m, 0x41)).toEqual([2]);
  expect(send(m, 0x42, 0xff)).toBe(3);
  expect(holders(m, 0x42)).toEqual([0, 1, 2]);
  expect(send(m, 0x43, 7)).toBe(0);
});

test('a shorthand needs no destination', () => {
  const m = threeVcpus();
  expect(send(m, APIC_DEST_ALLBUT | 0x41)).toBe(2);
  expect(holders(m, 0x41)).toEqual([1, 2]);
});

test('a logical destination in flat mode is a mask of vCPUs', () => {
  const m = threeVcpus();
  flat(m);
  expect(send(m, APIC_DEST_LOGICAL | 0x41, 0b110)).toBe(2);
  expect(holders(m, 0x41)).toEqual([1, 2]);
});

test('of a lowest-priority interrupt the vector says who gets it', () => {
  const m = threeVcpus();
  flat(m);
  for (const vector of [0x40, 0x41, 0x42]) {
    send(m, APIC_DM_LOWEST | APIC_DEST_LOGICAL | vector, 0b111);
    expect(holders(m, vector)).toEqual([vector % 3]);
  }
});

test('without vector hashing the vCPUs take turns', () => {
  const m = threeVcpus({ vm: { vectorHashing: false } });
  flat(m);
  for (const [turn, vector] of [0x40, 0x41, 0x42, 0x43].entries()) {
    send(m, APIC_DM_LOWEST | APIC_DEST_LOGICAL | vector, 0b111);
    expect(holders(m, vector)).toEqual([turn % 3]);
  }
});

test('an APIC that software has disabled drops fixed interrupts, but no NMI', () => {
  const m = threeVcpus();
  byHand(m, () => {
    m.vcpu[1]!.apic.sw_enabled = false;
  });
  expect(send(m, 0x41, 1)).toBe(0);
  expect(send(m, APIC_DM_NMI, 1)).toBe(1);
  expect([m.vcpu[1]!.nmi_queued, m.vcpu[1]!.requests.has(KVM_REQ.NMI)]).toEqual([1, true]);
});

test('SMI and remote read leave their marks at the target', () => {
  const m = threeVcpus();
  send(m, APIC_DM_SMI, 1);
  send(m, APIC_DM_REMRD, 2);
  expect(m.vcpu[1]!.requests.has(KVM_REQ.SMI)).toBe(true);
  expect([m.vcpu[2]!.pv_unhalted, m.vcpu[2]!.requests.has(KVM_REQ.EVENT)]).toEqual([true, true]);
});

test('INIT drops a SIPI that was not accepted, unless the switch says otherwise', () => {
  for (const [value, both] of [
    ['on', false],
    ['off', true],
  ] as const) {
    const m = threeVcpus({ switches: { 'init-overwrites-pending': value } });
    const { pending_events } = m.vcpu[1]!.apic;
    send(m, APIC_DM_STARTUP | 0x9a, 1);
    send(m, APIC_DM_INIT | APIC_INT_ASSERT, 1);
    expect([pending_events.has(apicEvent.INIT), pending_events.has(apicEvent.SIPI)]).toEqual([
      true,
      both,
    ]);
  }
});

test('R55: without the barrier the SIPI can be seen before its vector', () => {
  for (const [value, vector] of [
    ['on', 0x9a],
    ['off', 0],
  ] as const) {
    const m = threeVcpus({ switches: { 'sipi-vector-barrier': value } });
    const { apic } = m.vcpu[1]!;
    begin(m, 'vcpu0', () => kvm_apic_send_ipi(m, 0, APIC_DM_STARTUP | 0x9a, 1 << 24));
    while (!apic.pending_events.has(apicEvent.SIPI)) takeStep(m, 'vcpu0');
    expect(apic.sipi_vector).toBe(vector);
    goOn(m, 'vcpu0');
    expect(apic.sipi_vector).toBe(0x9a);
  }
});

test('TMR is right before the vector can be seen', () => {
  const m = threeVcpus();
  const { apic } = m.vcpu[1]!;
  begin(m, 'vcpu0', () => kvm_apic_send_ipi(m, 0, 0xc041, 1 << 24));
  while (!apic.tmr.has(0x41)) takeStep(m, 'vcpu0');
  expect(apic.irr.has(0x41)).toBe(false);
  goOn(m, 'vcpu0');
  expect(apic.irr.has(0x41)).toBe(true);
});

test('two vCPUs with one ID: no map, APICv inhibited, and both get the interrupt', () => {
  const m = threeVcpus({ enableApicv: true });
  complete(m, 'vcpu2', () => kvm_apic_set_xapic_id(m, 2, 1));
  complete(m, 'vcpu2', () => kvm_recalculate_apic_map(m));
  const reasons = m.vm.apicv_inhibit_reasons;
  expect([m.vm.apic_map.valid, reasons.has(apicvInhibitReason.PHYSICAL_ID_ALIASED)]).toEqual([
    false,
    true,
  ]);
  expect(reasons.has(apicvInhibitReason.APIC_ID_MODIFIED)).toBe(true);
  expect(send(m, 0x41, 1)).toBe(2);

  complete(m, 'vcpu2', () => kvm_apic_set_xapic_id(m, 2, 2));
  complete(m, 'vcpu2', () => kvm_recalculate_apic_map(m));
  expect([m.vm.apic_map.valid, reasons.any()]).toEqual([true, false]);
});

/** vCPU 1 changes its ID while vCPU 0 computes the map and has read the old one. */
const changeDuringCalculation = (m: Machine): void => {
  byHand(m, () => markApicMapDirty(m));
  begin(m, 'vcpu0', () => kvm_recalculate_apic_map(m));
  goTo(m, 'vcpu0', 'kvm_recalculate_apic_map', 'publish');
  complete(m, 'vcpu1', () => kvm_apic_set_xapic_id(m, 1, 9));
  goOn(m, 'vcpu0');
};

test('R59: a change during the calculation leaves the map DIRTY', () => {
  const m = threeVcpus();
  changeDuringCalculation(m);
  expect(m.vm.apic_map_dirty).toBe(apicMapDirty.DIRTY);
  complete(m, 'vcpu1', () => kvm_recalculate_apic_map(m));
  expect(send(m, 0x41, 9)).toBe(1);
  expect(holders(m, 0x41)).toEqual([1]);
});

test('R59: without the protocol the change is lost', () => {
  const m = threeVcpus({ switches: { 'apic-map-dirty-protocol': 'off' } });
  changeDuringCalculation(m);
  complete(m, 'vcpu1', () => kvm_recalculate_apic_map(m));
  expect(m.vm.apic_map_dirty).toBe(apicMapDirty.CLEAN);
  expect(send(m, 0x41, 9)).toBe(0);
});

/** How often a map is begun while two APICs with large IDs come and go. */
const attempts = (m: Machine): number => {
  const present = (vcpu: number, yes: boolean): void =>
    byHand(m, () => {
      m.vcpu[vcpu]!.apic_base = 0xfee0_0000 + (yes ? 0xc00 : 0);
    });
  const goToAttempt = (): void => goTo(m, 'vcpu0', 'kvm_recalculate_apic_map', 'begin a map');
  present(2, false);
  byHand(m, () => markApicMapDirty(m));
  begin(m, 'vcpu0', () => kvm_recalculate_apic_map(m));
  goToAttempt();
  // There is room for ID 300, and now 400 is there.
  present(2, true);
  goTo(m, 'vcpu0', 'kvm_recalculate_apic_map', 'DIRTY becomes');
  present(1, false);
  present(2, false);
  goToAttempt();
  // Nobody was there this time, but now 300 is.
  present(1, true);
  const begun = goOn(m, 'vcpu0').filter((label) => label.startsWith('begin a map'));
  return 1 + begun.length;
};

test('R60: the room for the map only grows over the retries', () => {
  const apics = [
    { id: 0 },
    { id: 300, mode: 'x2apic' as const },
    { id: 400, mode: 'x2apic' as const },
  ];
  expect(attempts(threeVcpus({ apics }))).toBe(2);
  const switches = { 'apic-map-maxid-monotonic': 'off' };
  expect(attempts(threeVcpus({ apics, switches }))).toBe(3);
});

const bitmap = (low: number) =>
  [
    { low, high: 0 },
    { low: 0, high: 0 },
  ] as const;

test('a hypercall sends to the IDs of a bitmap', () => {
  const m = threeVcpus();
  const count = complete(m, 'vcpu0', () => kvm_pv_send_ipi(m, bitmap(0b110), 0, 0x41, true));
  expect([count, holders(m, 0x41)]).toEqual([2, [1, 2]]);
  const refused = complete(m, 'vcpu0', () => kvm_pv_send_ipi(m, bitmap(1), 0, 0x841, true));
  expect(refused).toBe(-22);
});

test('lowest priority to physical ID 0xff: an x2APIC by the map, otherwise fixed, to everybody', () => {
  const apics = [{ mode: 'x2apic' }, { mode: 'x2apic' }, { mode: 'x2apic', id: 0xff }] as const;
  const m = threeVcpus({ apics });
  const icr = APIC_DM_LOWEST | 0x41;
  expect(complete(m, 'vcpu0', () => kvm_apic_send_ipi(m, 0, icr, 0xff))).toBe(1);
  expect([holders(m, 0x41), m.vcpu[2]!.apic_arb_prio]).toEqual([[2], 1]);
  const x = threeVcpus();
  expect(send(x, icr, 0xff)).toBe(3);
  expect(x.vcpu.map(({ apic_arb_prio }) => apic_arb_prio)).toEqual([0, 0, 0]);
});
