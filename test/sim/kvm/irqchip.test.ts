// Global interrupts: what a GSI stands for, who follows when that changes, and irqfds.

import { expect, test } from 'vitest';
import { irqfd_wakeup } from '#sim/kvm/eventfd.ts';
import { kvm_set_irq, kvm_set_irq_routing } from '#sim/kvm/irqchip.ts';
import { APIC_DM_LOWEST } from '#sim/state/apicdef.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import type { Machine, Steps } from '#sim/steps.ts';
import { byHand, complete } from '../small_machine.ts';
import { machineWith, type Wishes } from './lapic_machine.ts';

const GSI = 5;
const VECTOR = 0x51;
const toVcpu0 = { address_lo: 0xfee0_0000, address_hi: 0, data: VECTOR } as const;

const byUser = <R>(m: Machine, call: Steps<R>): R => complete(m, 'user', () => call);

const split = (wishes: Wishes = {}): Machine =>
  machineWith({ ...wishes, vm: { irqchip: 'split', ...wishes.vm } });

const scans = (m: Machine): boolean[] =>
  m.vcpu.map(({ requests }) => requests.has(KVM_REQ.SCAN_IOAPIC));

test('a GSI with a route is an MSI when it goes up, and nothing when it goes down', () => {
  const m = split();
  expect(byUser(m, kvm_set_irq(m, GSI, 1))).toBe(-1);
  byUser(m, kvm_set_irq_routing(m, GSI, toVcpu0));
  expect([byUser(m, kvm_set_irq(m, GSI, 0)), m.vcpu[0]!.apic.irr.any()]).toEqual([-1, false]);
  expect([byUser(m, kvm_set_irq(m, GSI, 1)), m.vcpu[0]!.apic.irr.has(VECTOR)]).toEqual([1, true]);
});

test('a GSI without a route is a pin of the IOAPIC, if that is in KVM', () => {
  const m = machineWith();
  byUser(m, kvm_set_irq(m, GSI, 1));
  expect(m.vm.ioapic.line.has(GSI)).toBe(true);
  byUser(m, kvm_set_irq_routing(m, GSI, toVcpu0));
  byUser(m, kvm_set_irq(m, GSI, 0));
  expect(m.vm.ioapic.line.has(GSI)).toBe(true);
});

test('with the IOAPIC in user space every vCPU scans when a route changes, else none does', () => {
  const m = split({ vcpus: 2 });
  byHand(m, () => m.vcpu[1]!.requests.clearAll());
  byUser(m, kvm_set_irq_routing(m, GSI, toVcpu0));
  expect(scans(m)).toEqual([true, true]);
  byHand(m, () => {
    for (const { requests } of m.vcpu) requests.clearAll();
  });
  byUser(m, kvm_set_irq_routing(m, GSI, undefined));
  expect([scans(m), m.vm.irq_routing[GSI]!.used]).toEqual([[true, true], false]);
  const kernel = machineWith();
  byUser(kernel, kvm_set_irq_routing(kernel, GSI, toVcpu0));
  expect(scans(kernel)).toEqual([false]);
});

test('an irqfd delivers the MSI of its route, through the map of the APICs', () => {
  const m = split();
  byUser(m, kvm_set_irq_routing(m, GSI, toVcpu0));
  byUser(m, irqfd_wakeup(m, GSI));
  expect(m.vcpu[0]!.apic.irr.has(VECTOR)).toBe(true);
});

test('an irqfd whose route the map does not answer takes the way that may sleep', () => {
  const m = split();
  const everybody = { address_lo: 0xfeef_f000, address_hi: 0, data: APIC_DM_LOWEST | VECTOR };
  byUser(m, kvm_set_irq_routing(m, GSI, everybody));
  byUser(m, irqfd_wakeup(m, GSI));
  expect(m.vcpu[0]!.apic.irr.has(VECTOR)).toBe(true);
});

test('an irqfd of a pin is an edge: the line is down again behind it', () => {
  const m = machineWith();
  byHand(m, () => {
    m.vm.ioapic.redirtbl[GSI]!.low = VECTOR;
  });
  byUser(m, irqfd_wakeup(m, GSI));
  expect([m.vcpu[0]!.apic.irr.has(VECTOR), m.vm.ioapic.line.has(GSI)]).toEqual([true, false]);
});

test('a route with reserved address bits is refused when it is used', () => {
  const m = split({ vm: { irqchip: 'split', x2apic32bitIds: true } });
  byUser(m, kvm_set_irq_routing(m, GSI, { ...toVcpu0, address_hi: 1 }));
  byUser(m, irqfd_wakeup(m, GSI));
  expect(m.vcpu[0]!.apic.irr.any()).toBe(false);
});
