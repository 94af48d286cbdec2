// An ExtINT of user space: when KVM has room for it, and when the guest can take it.

import { expect, test } from 'vitest';
import {
  kvm_vcpu_ready_for_interrupt_injection,
  requestsWindow,
  saveReadiness,
  windowIsOpen,
} from '#sim/kvm/irq_window.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand } from '../small_machine.ts';
import { machineWith } from './lapic_machine.ts';

const EXTINT = 0x700;
const MASKED = 0x1_0000;

type Vcpu = Machine['vcpu'][number];

/** A guest that can take an ExtINT, for which user space waits; unless it is changed. */
const waiting = (change: (vcpu: Vcpu) => void = () => undefined, irqchip = 'split'): Machine => {
  const m = machineWith({ vm: { irqchip: irqchip === 'split' ? 'split' : 'kernel' } });
  byHand(m, () => {
    const vcpu = m.vcpu[0]!;
    vcpu.apic.lvt0 = EXTINT;
    vcpu.guest.rflags_if = true;
    vcpu.request_interrupt_window = true;
    change(vcpu);
  });
  return m;
};

test('a guest with interrupts on, LINT0 open and room for a vector is ready', () => {
  const ready = (change?: (vcpu: Vcpu) => void): boolean =>
    kvm_vcpu_ready_for_interrupt_injection(waiting(change), 0);
  const notReady: ((vcpu: Vcpu) => void)[] = [
    (vcpu) => {
      vcpu.guest.rflags_if = false;
    },
    (vcpu) => {
      vcpu.apic.lvt0 = EXTINT | MASKED;
    },
    (vcpu) => {
      vcpu.pending_external_vector = 0x30;
    },
    (vcpu) => {
      vcpu.interrupt.injected = true;
    },
  ];
  expect([ready(), notReady.map(ready)]).toEqual([true, notReady.map(() => false)]);
});

test('a window is asked for only while user space waits, and the PIC is not in KVM', () => {
  const noRequest = waiting((vcpu) => {
    vcpu.request_interrupt_window = false;
  });
  for (const [m, wanted] of [
    [waiting(), true],
    [noRequest, false],
    [waiting(undefined, 'kernel'), false],
  ] as const) {
    expect([requestsWindow(m, 0), windowIsOpen(m, 0)]).toEqual([wanted, wanted]);
  }
});

test('a guest with interrupts off gets a window, which is not open yet', () => {
  const m = waiting((vcpu) => {
    vcpu.guest.rflags_if = false;
  });
  expect([requestsWindow(m, 0), windowIsOpen(m, 0)]).toEqual([true, false]);
});

test('with the PIC in KVM user space is always told that it can inject', () => {
  const off = (vcpu: Vcpu): void => {
    vcpu.guest.rflags_if = false;
  };
  for (const irqchip of ['split', 'kernel']) {
    const m = waiting(off, irqchip);
    byHand(m, () => saveReadiness(m, 0));
    expect(m.vcpu[0]!.ready_for_interrupt_injection).toBe(irqchip === 'kernel');
  }
});
