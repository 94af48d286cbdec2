// PPR, and what it lets through, against the rules of the manual written down once more.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { evaluatePendingInterrupts, virtualizePpr } from '#sim/hw/virtual_interrupts.ts';
import {
  __apic_update_ppr,
  apic_update_ppr,
  kvm_apic_has_interrupt,
} from '#sim/kvm/lapic/priority.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import type { Machine } from '#sim/steps.ts';
import { complete, smallMachine } from '../small_machine.ts';

interface Priorities {
  readonly apicv: boolean;
  readonly tpr: number;
  readonly oldPpr: number;
  readonly isr: readonly number[];
  readonly irr: readonly number[];
}

const vectorSet = fc.uniqueArray(fc.integer({ min: 16, max: 255 }), { maxLength: 4 });
const priorities: fc.Arbitrary<Priorities> = fc.record({
  apicv: fc.boolean(),
  tpr: fc.nat(255),
  oldPpr: fc.nat(255),
  isr: vectorSet,
  irr: vectorSet,
});

/** Class and sub-class of a vector or a priority: its two hexadecimal digits. */
const digits = (value: number): [number, number] => [Math.floor(value / 16), value % 16];

const highestOf = (set: readonly number[]): number => set.reduce((a, b) => (a > b ? a : b), -1);

/**
 * The higher class of TPR and the highest vector in service; the sub-class is that of the TPR
 * unless the vector's class is higher, then 0.
 * @sdm 11.8.3.1 Task and Processor Priorities
 */
const pprOf = ({ tpr, isr }: Priorities): number => {
  const [taskClass, taskSub] = digits(tpr);
  const [serviceClass] = digits(Math.max(0, highestOf(isr)));
  return serviceClass > taskClass ? serviceClass * 16 : taskClass * 16 + taskSub;
};

/** The vector that may interrupt, −1 for none: its class must be above that of the PPR. */
const deliverableOf = (given: Priorities): number => {
  const candidate = highestOf(given.irr);
  return candidate >= 0 && digits(candidate)[0] > digits(pprOf(given))[0] ? candidate : -1;
};

const machineWith = ({ apicv, tpr, oldPpr, isr, irr }: Priorities): Machine => {
  const m = smallMachine({ enableApicv: apicv });
  const { apic, vmcs01 } = m.vcpu[0]!;
  for (const vector of isr) apic.isr.set(vector);
  for (const vector of irr) apic.irr.set(vector);
  apic.tpr = tpr;
  apic.ppr = oldPpr;
  if (!apicv) {
    apic.isr_count = isr.length;
    apic.irr_pending = irr.length > 0;
  }
  const [rvi, svi] = [Math.max(0, highestOf(irr)), Math.max(0, highestOf(isr))];
  vmcs01.guest_intr_status = svi * 256 + rvi;
  return m;
};

const forAll = (property: (given: Priorities) => void): void =>
  fc.assert(fc.property(priorities, property), { numRuns: 500, seed: 1 });

test('__apic_update_ppr writes what the manual says, and tells whether it dropped', () => {
  forAll((given) => {
    const m = machineWith(given);
    const dropped = __apic_update_ppr(m, 0);
    expect([m.vcpu[0]!.apic.ppr, dropped]).toEqual([pprOf(given), pprOf(given) < given.oldPpr]);
  });
});

test('apic_update_ppr asks for EVENT if the PPR dropped and lets a request through', () => {
  forAll((given) => {
    const m = machineWith(given);
    complete(m, 'vcpu0', () => apic_update_ppr(m, 0));
    const lets = pprOf(given) < given.oldPpr && deliverableOf(given) >= 0;
    expect([m.vcpu[0]!.apic.ppr, m.vcpu[0]!.requests.has(KVM_REQ.EVENT)]).toEqual([
      pprOf(given),
      lets,
    ]);
  });
});

test('kvm_apic_has_interrupt gives the highest request above the class of the PPR', () => {
  forAll((given) => {
    const m = machineWith(given);
    const vector = complete(m, 'vcpu0', () => kvm_apic_has_interrupt(m, 0));
    expect(vector).toBe(deliverableOf(given));
  });
});

test('the CPU computes the same PPR, and recognizes the same request', () => {
  forAll((given) => {
    const m = machineWith(given);
    virtualizePpr(m, 0);
    evaluatePendingInterrupts(m, 0);
    const { apic, guest } = m.vcpu[0]!;
    expect([apic.ppr, guest.virtual_interrupt_pending]).toEqual([
      pprOf(given),
      deliverableOf(given) >= 0,
    ]);
  });
});
