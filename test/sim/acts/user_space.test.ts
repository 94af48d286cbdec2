// User space: ioctls from another thread, the PIC and the IOAPIC that it emulates, signals.

import { expect, test } from 'vitest';
import { setUserLine, userIoapicEoi, userMmio } from '#sim/acts/user_ioapic.ts';
import { betweenRuns, ioctlInterrupt, setPicOutput } from '#sim/acts/user_space.ts';
import { kvm_set_irq_routing } from '#sim/kvm/irqchip.ts';
import { kvm_apic_ack_interrupt } from '#sim/kvm/lapic/priority.ts';
import { kvmExit, mpState } from '#sim/state/vcpu.ts';
import type { Machine, Steps } from '#sim/steps.ts';
import { does, machineWith, type Wishes } from '../kvm/lapic_machine.ts';
import { begin, byHand, complete, goOn, goTo, isReady } from '../small_machine.ts';

const PIN = 9;
const VECTOR = 0x61;
const LEVEL = 0x8000;
const EXTINT = 0x700;

const byUser = <R>(m: Machine, call: Steps<R>): R => complete(m, 'user', () => call);

const split = (wishes: Wishes = {}): Machine =>
  machineWith({ ...wishes, vm: { irqchip: 'split' } });

const withPin = (data: number): Machine => {
  const m = split();
  byUser(m, kvm_set_irq_routing(m, PIN, { address_lo: 0xfee0_0000, address_hi: 0, data }));
  return m;
};

const requested = (m: Machine): boolean => m.vcpu[0]!.apic.irr.has(VECTOR);

test('a level-triggered pin is sent once until its EOI, and then again while it is up', () => {
  const m = withPin(LEVEL | VECTOR);
  byUser(m, setUserLine(m, PIN, true));
  expect([requested(m), m.vm.irq_routing[PIN]!.remote_irr]).toEqual([true, true]);
  does(m, kvm_apic_ack_interrupt(m, 0, VECTOR));
  byUser(m, setUserLine(m, PIN, true));
  expect(requested(m)).toBe(false);
  byUser(m, userIoapicEoi(m, VECTOR + 1));
  expect(requested(m)).toBe(false);
  byUser(m, userIoapicEoi(m, VECTOR));
  expect(requested(m)).toBe(true);
  byUser(m, setUserLine(m, PIN, false));
  byUser(m, userIoapicEoi(m, VECTOR));
  expect(m.vm.irq_routing[PIN]!.remote_irr).toBe(false);
});

test('an edge is sent each time, and asks for no EOI', () => {
  const m = withPin(VECTOR);
  for (let edge = 0; edge < 2; edge++) {
    byUser(m, setUserLine(m, PIN, true));
    expect(requested(m)).toBe(true);
    does(m, kvm_apic_ack_interrupt(m, 0, VECTOR));
    byUser(m, setUserLine(m, PIN, false));
  }
  expect([requested(m), m.vm.irq_routing[PIN]!.remote_irr]).toEqual([false, false]);
});

/** An access of the guest to the IOAPIC that nobody in KVM has answered; gives what is read. */
const mmio = (m: Machine, offset: number, width: number, value?: number): number => {
  byHand(m, () => {
    const { run_mmio } = m.vcpu[0]!;
    run_mmio.phys_addr = 0xfec0_0000 + offset;
    run_mmio.len = width;
    run_mmio.is_write = value !== undefined;
    run_mmio.data = value ?? 0;
  });
  does(m, userMmio(m, 0));
  return m.vcpu[0]!.run_mmio.data;
};

const writeRegister = (m: Machine, register: number, value: number): void => {
  mmio(m, 0, 4, register);
  mmio(m, 0x10, 4, value);
};

const readRegister = (m: Machine, register: number, width = 4): number => {
  mmio(m, 0, 4, register);
  return mmio(m, 0x10, width);
};

const low = 0x10 + 2 * PIN;

test('an entry that is unmasked becomes a route, and one that is masked has none', () => {
  const m = split();
  const route = m.vm.irq_routing[PIN]!;
  writeRegister(m, low + 1, 0x0200_0000);
  expect(route.used).toBe(false);
  writeRegister(m, low, LEVEL | 0x800 | VECTOR);
  expect([route.used, route.address_lo, route.data]).toEqual([true, 0xfee0_2004, LEVEL | VECTOR]);
  writeRegister(m, low, 0x1_0000);
  expect(route.used).toBe(false);
});

test('the guest reads back what it wrote, and whether an EOI is to come', () => {
  const m = split();
  writeRegister(m, low, LEVEL | VECTOR);
  expect([readRegister(m, low), readRegister(m, low, 1)]).toEqual([LEVEL | VECTOR, VECTOR]);
  byUser(m, setUserLine(m, PIN, true));
  expect(readRegister(m, low)).toBe(LEVEL | 0x4000 | VECTOR);
  expect(mmio(m, 0, 4)).toBe(low);
});

test('where user space has no device writes are lost, and reads give 0', () => {
  const m = split();
  mmio(m, 0x40, 4, VECTOR);
  expect([mmio(m, 0x40, 4), m.vm.irq_routing.some(({ used }) => used)]).toEqual([0, false]);
});

/** KVM_RUN has returned for a reason; what the thread does then. */
const returned = (m: Machine, reason: number, ready: boolean): void => {
  byHand(m, () => {
    const vcpu = m.vcpu[0]!;
    vcpu.exit_reason = reason as (typeof kvmExit)[keyof typeof kvmExit];
    vcpu.ready_for_interrupt_injection = ready;
    vcpu.pending_ioapic_eoi = VECTOR;
    vcpu.apic.lvt0 = EXTINT;
  });
  does(m, betweenRuns(m, 0));
};

test('the PIC of user space is acknowledged when the guest can take it, and not before', () => {
  const m = split();
  const vcpu = m.vcpu[0]!;
  byUser(m, setPicOutput(m, true, 0x30));
  expect(vcpu.sigpending).toBe(true);
  returned(m, kvmExit.INTR, false);
  expect([vcpu.request_interrupt_window, vcpu.pending_external_vector]).toEqual([true, -1]);
  returned(m, kvmExit.IRQ_WINDOW_OPEN, true);
  expect([vcpu.request_interrupt_window, vcpu.pending_external_vector]).toEqual([false, 0x30]);
  expect(m.vm.pic.output).toBe(0);
});

test('a PIC that takes INTR back is not asked for anything', () => {
  const m = split();
  byUser(m, setPicOutput(m, true, 0x30));
  byUser(m, setPicOutput(m, false, 0));
  returned(m, kvmExit.INTR, true);
  expect(m.vcpu[0]!.pending_external_vector).toBe(-1);
});

test('only KVM_EXIT_IOAPIC_EOI reaches the IOAPIC of user space', () => {
  const m = withPin(LEVEL | VECTOR);
  byUser(m, setUserLine(m, PIN, true));
  byUser(m, setUserLine(m, PIN, false));
  returned(m, kvmExit.INTR, false);
  expect(m.vm.irq_routing[PIN]!.remote_irr).toBe(true);
  returned(m, kvmExit.IOAPIC_EOI, false);
  expect(m.vm.irq_routing[PIN]!.remote_irr).toBe(false);
});

/** The vCPU has halted inside KVM_RUN. */
const asleep = (): Machine => {
  const m = split();
  byHand(m, () => {
    m.vcpu[0]!.guest.rflags_if = true;
    m.vcpu[0]!.apic.lvt0 = EXTINT;
  });
  goOn(m, 'vcpu0');
  expect([m.vcpu[0]!.mp_state, isReady(m, 'vcpu0')]).toEqual([mpState.HALTED, false]);
  return m;
};

test('an ioctl calls a sleeping vCPU out of KVM_RUN, which goes on behind it', () => {
  const m = asleep();
  const work = begin(m, 'user', () => ioctlInterrupt(m, 0, 0x31));
  goOn(m, 'user');
  expect([work.done, m.vcpu[0]!.mutex_waiters]).toEqual([false, 1]);
  goTo(m, 'vcpu0', 'vcpu_run', 'KVM_RUN is called again');
  expect([m.vcpu[0]!.exit_reason, isReady(m, 'vcpu0')]).toEqual([kvmExit.INTR, false]);
  goOn(m, 'user');
  expect([work.done, m.vcpu[0]!.pending_external_vector]).toEqual([true, 0x31]);
  goOn(m, 'vcpu0');
  const { guest, exit_reason, stat } = m.vcpu[0]!;
  expect([guest.delivered_count, guest.delivered[0]!.vector]).toEqual([1, 0x31]);
  expect([exit_reason, stat.user_exits, m.vcpu[0]!.sigpending]).toEqual([kvmExit.NONE, 1, false]);
});

test('a vCPU that begins while an ioctl has its mutex waits for it', () => {
  const m = split();
  begin(m, 'user', () => ioctlInterrupt(m, 0, 0x31));
  goTo(m, 'user', 'kvm_vcpu_ioctl_interrupt', 'pending_external_vector');
  goOn(m, 'vcpu0');
  expect([m.vcpu[0]!.srcu_idx, isReady(m, 'vcpu0')]).toEqual([-1, false]);
  goOn(m, 'user');
  expect([m.vcpu[0]!.pending_external_vector, isReady(m, 'vcpu0')]).toEqual([0x31, true]);
});

test('a vCPU outside KVM_RUN gets no signal', () => {
  const m = split();
  byUser(m, ioctlInterrupt(m, 0, 0x31));
  const { sigpending, mutex_waiters, pending_external_vector } = m.vcpu[0]!;
  expect([sigpending, mutex_waiters, pending_external_vector]).toEqual([false, 0, 0x31]);
});
