// PIR, IRR and ISR as sets: what each operation moves, against sets of numbers kept beside them.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Bits } from '#sim/arena/fields.ts';
import { postedInterruptProcessing } from '#sim/hw/posted_interrupts.ts';
import { eoiVirtualization, virtualInterruptDelivery } from '#sim/hw/virtual_interrupts.ts';
import { apic_set_eoi } from '#sim/kvm/lapic/eoi.ts';
import { apic_set_irr, kvm_apic_ack_interrupt } from '#sim/kvm/lapic/priority.ts';
import {
  __vmx_deliver_posted_interrupt,
  kvm_apic_update_irr,
  maxOf,
  updatedOf,
  vmx_sync_pir_to_irr,
} from '#sim/kvm/vmx/posted_intr.ts';
import { POSTED_INTR_VECTOR } from '#sim/state/pi_desc.ts';
import type { Machine, Steps } from '#sim/steps.ts';
import { byHand, complete, smallMachine } from '../small_machine.ts';

/** Words that hold several vectors and words that hold one. */
const vector = fc.oneof(fc.integer({ min: 16, max: 255 }), fc.constantFrom(0x20, 0x21, 0x3f, 0xff));
const vectorSet = fc.uniqueArray(vector, { maxLength: 6 });

const numbersIn = (bits: Bits): number[] =>
  Array.from({ length: bits.width }, (_, i) => i).filter((i) => bits.has(i));
const sorted = (set: Iterable<number>): number[] => [...set].sort((a, b) => a - b);
const highestOf = (set: Iterable<number>): number => Math.max(-1, ...set);

const machineOf = (apicv: boolean): Machine =>
  smallMachine({ profile: 'k7.0', enableApicv: apicv });

const does = <R>(m: Machine, start: () => Steps<R>): R => complete(m, 'vcpu0', start);

const forSets = (property: (pir: number[], irr: number[]) => void): void =>
  fc.assert(fc.property(vectorSet, vectorSet, property), { numRuns: 400, seed: 1 });

const machineWith = (pir: readonly number[], irr: readonly number[]): Machine => {
  const m = machineOf(true);
  byHand(m, () => {
    for (const one of pir) m.vcpu[0]!.pi_desc.pir.set(one);
    for (const one of irr) m.vcpu[0]!.apic.irr.set(one);
    m.vcpu[0]!.pi_desc.on = pir.length > 0;
    m.vcpu[0]!.vmcs01.guest_intr_status = Math.max(0, highestOf(irr));
  });
  return m;
};

test('a harvest leaves IRR ∪ PIR in IRR and nothing in PIR, and tells of a new maximum', () => {
  forSets((pir, irr) => {
    const m = machineWith(pir, irr);
    const result: number = does(m, () => kvm_apic_update_irr(m, 0));
    const union = new Set([...pir, ...irr]);
    const added = pir.filter((one) => !irr.includes(one));
    const { pi_desc, apic } = m.vcpu[0]!;
    expect([numbersIn(apic.irr), numbersIn(pi_desc.pir)]).toEqual([sorted(union), []]);
    expect(maxOf(result)).toBe(highestOf(union));
    expect(updatedOf(result)).toBe(added.length > 0 && highestOf(added) === highestOf(union));
  });
});

test('a notification does the same in the CPU, and RVI is the maximum', () => {
  forSets((pir, irr) => {
    const m = machineWith(pir, irr);
    does(m, () => postedInterruptProcessing(m, 0, POSTED_INTR_VECTOR));
    const union = new Set([...pir, ...irr]);
    const { pi_desc, apic, vmcs01 } = m.vcpu[0]!;
    expect([numbersIn(apic.irr), numbersIn(pi_desc.pir), pi_desc.on]).toEqual([
      sorted(union),
      [],
      false,
    ]);
    expect(vmcs01.guest_intr_status).toBe(Math.max(0, highestOf(union)));
  });
});

type Deed =
  | { readonly do: 'request'; readonly vector: number }
  | { readonly do: 'sync' | 'take' | 'eoi' };

const deed: fc.Arbitrary<Deed> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('request' as const), vector }) },
  { weight: 5, arbitrary: fc.constantFrom<Deed>({ do: 'sync' }, { do: 'take' }, { do: 'eoi' }) },
);
const deeds = fc.array(deed, { minLength: 10, maxLength: 40 });

interface Sets {
  readonly pir: Set<number>;
  readonly irr: Set<number>;
  readonly isr: Set<number>;
}

/** What a deed means for sets; a vector is taken if its class is above that in service. */
const means = ({ pir, irr, isr }: Sets, deed: Deed, apicv: boolean): void => {
  const [request, service] = [highestOf(irr), highestOf(isr)];
  switch (deed.do) {
    case 'request':
      (apicv ? pir : irr).add(deed.vector);
      break;
    case 'sync':
      for (const one of pir) irr.add(one);
      pir.clear();
      break;
    case 'take':
      if (request >> 4 <= Math.max(0, service) >> 4) break;
      irr.delete(request);
      isr.add(request);
      break;
    case 'eoi':
      isr.delete(service);
  }
};

/** The CPU takes the request that it has recognized; its handler is not what is tested here. */
const deliver = (m: Machine): void => {
  byHand(m, () => {
    m.vcpu[0]!.guest.in_service_program = 0;
  });
  does(m, () => virtualInterruptDelivery(m, 0, []));
};

/** The same on the machine: with APICv the CPU takes and ends interrupts, without it KVM does. */
const isDone = (m: Machine, deed: Deed, request: number, apicv: boolean): void => {
  switch (deed.do) {
    case 'request':
      if (apicv) does(m, () => __vmx_deliver_posted_interrupt(m, 0, deed.vector));
      else does(m, () => apic_set_irr(m, 0, deed.vector));
      break;
    case 'sync':
      does(m, () => vmx_sync_pir_to_irr(m, 0));
      break;
    case 'take':
      if (request < 0) break;
      if (apicv) deliver(m);
      else does(m, () => kvm_apic_ack_interrupt(m, 0, request));
      break;
    case 'eoi':
      if (apicv) does(m, () => eoiVirtualization(m, 0));
      else does(m, () => apic_set_eoi(m, 0));
  }
};

/** What has to agree after every deed; of RVI only once PIR was taken. */
const seen = (m: Machine, apicv: boolean) => {
  const { pi_desc, apic, vmcs01 } = m.vcpu[0]!;
  const cache = apic.highest_isr_cache;
  return {
    pir: numbersIn(pi_desc.pir),
    irr: numbersIn(apic.irr),
    isr: numbersIn(apic.isr),
    rvi: apicv ? vmcs01.guest_intr_status & 0xff : 0,
    svi: apicv ? vmcs01.guest_intr_status >>> 8 : 0,
    isrCount: apicv ? 1 : apic.isr_count,
    cacheIsRight: cache === -1 || cache === apic.isr.highest(),
    hintIsRight: apic.irr_pending || !apic.irr.any(),
  };
};

const meant = ({ pir, irr, isr }: Sets, apicv: boolean): ReturnType<typeof seen> => ({
  pir: sorted(pir),
  irr: sorted(irr),
  isr: sorted(isr),
  rvi: apicv ? Math.max(0, highestOf(irr)) : 0,
  svi: apicv ? Math.max(0, highestOf(isr)) : 0,
  isrCount: apicv ? 1 : isr.size,
  cacheIsRight: true,
  hintIsRight: true,
});

test.each([true, false])('sets and maxima agree after each of many deeds, APICv %s', (apicv) => {
  const numRuns = 200;
  let taken = 0;
  fc.assert(
    fc.property(deeds, (list) => {
      const m = machineOf(apicv);
      const sets: Sets = { pir: new Set(), irr: new Set(), isr: new Set() };
      for (const deed of list) {
        const { irr, isr } = sets;
        const fits = highestOf(irr) >> 4 > Math.max(0, highestOf(isr)) >> 4;
        const request = fits ? highestOf(irr) : -1;
        if (deed.do === 'eoi' && isr.size === 0) continue;
        if (deed.do === 'take' && fits) taken++;
        isDone(m, deed, request, apicv);
        means(sets, deed, apicv);
        expect([deed, seen(m, apicv)]).toEqual([deed, meant(sets, apicv)]);
      }
    }),
    { numRuns, seed: 1 },
  );
  expect(taken).toBeGreaterThan(numRuns);
});
