import { expect, test } from 'vitest';
import { __run_hrtimer, hrtimer_cancel, hrtimer_interrupt } from '#sim/host/hrtimer.ts';
import { kvm_lapic_reg_write } from '#sim/kvm/lapic/registers.ts';
import {
  kvm_lapic_expired_hv_timer,
  kvm_lapic_switch_to_sw_timer,
  kvm_set_lapic_tscdeadline_msr,
} from '#sim/kvm/lapic/timer.ts';
import {
  apic_timer_expired,
  apic_timer_fn,
  kvm_inject_apic_timer_irqs,
  kvm_wait_lapic_expire,
} from '#sim/kvm/lapic/timer_expiry.ts';
import { currentCount } from '#sim/kvm/lapic/timer_target.ts';
import { APIC_LVTT, APIC_TDCR, APIC_TMICT } from '#sim/state/apicdef.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { timerMode } from '#sim/state/timer.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, goOn, isReady, takeStep } from '../small_machine.ts';
import { does, machineWith, type Wishes } from './lapic_machine.ts';

const vector = 0x40;
const write = (m: Machine, offset: number, value: number): number =>
  does(m, kvm_lapic_reg_write(m, 0, offset, value));

/** A timer of 1000 counts of two bus cycles each. */
const withTimer = (mode: number, wishes: Wishes = {}): Machine => {
  const m = machineWith(wishes);
  write(m, APIC_LVTT, mode | vector);
  m.vm.min_timer_period_us = 0;
  write(m, APIC_TMICT, 1000);
  return m;
};
const timerOf = (m: Machine): Machine['vcpu'][number]['apic']['lapic_timer'] =>
  m.vcpu[0]!.apic.lapic_timer;
const deadlineAt = (m: Machine, tsc: number): void => {
  write(m, APIC_LVTT, timerMode.TSCDEADLINE | vector);
  does(m, kvm_set_lapic_tscdeadline_msr(m, 0, tsc));
};

test('the hrtimer notes an expiry and wakes the vCPU, which injects it', () => {
  const m = withTimer(timerMode.ONESHOT);
  begin(m, 'user', () => hrtimer_interrupt(m, 0, [apic_timer_fn]));
  goOn(m, 'user');
  expect(timerOf(m).pending).toBe(0);
  m.vm.now = 2000;
  goOn(m, 'user');
  const { requests, apic } = m.vcpu[0]!;
  expect([timerOf(m).pending, requests.has(KVM_REQ.UNBLOCK)]).toEqual([1, true]);
  expect(apic.irr.any()).toBe(false);
  does(m, kvm_inject_apic_timer_irqs(m, 0));
  expect([timerOf(m).pending, apic.irr.highest()]).toEqual([0, vector]);
  expect(timerOf(m).armed).toBe(false);
});

test('the current count follows the clock, and a new divisor rescales what is left', () => {
  const m = withTimer(timerMode.ONESHOT);
  m.vm.now = 500;
  expect(currentCount(m, 0)).toBe(750);
  write(m, APIC_TDCR, 0b0001);
  expect([timerOf(m).expires, currentCount(m, 0)]).toEqual([3500, 750]);
});

test('a periodic timer that was not served collapses what it missed into one expiry, now', () => {
  const m = withTimer(timerMode.PERIODIC);
  m.vm.now = 9000;
  does(m, __run_hrtimer(m, 0, [apic_timer_fn]));
  expect([timerOf(m).armed, timerOf(m).expires]).toEqual([true, 9000]);
});

test('a period that is too short for the host is stretched', () => {
  const m = withTimer(timerMode.PERIODIC);
  m.vm.min_timer_period_us = 200;
  write(m, APIC_TMICT, 1000);
  expect(timerOf(m).period).toBe(200_000);
});

test('an expiry is dropped while another is pending; without the guard both count', () => {
  const pendingWith = (guard: string): number => {
    const m = withTimer(timerMode.ONESHOT, { switches: { 'timer-pending-guard': guard } });
    does(m, apic_timer_expired(m, 0, true));
    does(m, apic_timer_expired(m, 0, true));
    return timerOf(m).pending;
  };
  expect([pendingWith('on'), pendingWith('off')]).toEqual([1, 2]);
});

test('with APICv only the thread of the vCPU injects an expiry at once', () => {
  const m = withTimer(timerMode.ONESHOT, { enableApicv: true });
  does(m, apic_timer_expired(m, 0, true));
  expect([timerOf(m).pending, m.vcpu[0]!.pi_desc.pir.any()]).toEqual([1, false]);
  timerOf(m).pending = 0;
  does(m, apic_timer_expired(m, 0, false));
  expect([timerOf(m).pending, m.vcpu[0]!.pi_desc.pir.has(vector)]).toEqual([0, true]);
});

test('whoever cancels a timer waits for its callback', () => {
  const m = withTimer(timerMode.PERIODIC);
  m.vm.now = 2000;
  begin(m, 'user', () => hrtimer_interrupt(m, 0, [apic_timer_fn]));
  takeStep(m, 'user');
  begin(m, 'vcpu0', () => hrtimer_cancel(m, 0));
  expect([timerOf(m).running, isReady(m, 'vcpu0')]).toEqual([true, false]);
  goOn(m, 'user');
  expect([timerOf(m).armed, isReady(m, 'vcpu0')]).toEqual([true, true]);
  goOn(m, 'vcpu0');
  expect(timerOf(m).armed).toBe(false);
});

test('a deadline in the past expires at once, and its register reads 0', () => {
  const m = machineWith();
  m.vm.now = 5000;
  deadlineAt(m, 4000);
  does(m, kvm_inject_apic_timer_irqs(m, 0));
  expect([m.vcpu[0]!.apic.irr.highest(), timerOf(m).tscdeadline]).toEqual([vector, 0]);
});

test('the hrtimer of a deadline fires early, and the vCPU waits for the exact time', () => {
  const m = machineWith();
  deadlineAt(m, 10_000);
  expect(timerOf(m).expires).toBe(9000);
  m.vm.now = 9000;
  does(m, __run_hrtimer(m, 0, [apic_timer_fn]));
  m.vcpu[0]!.apic.isr.set(vector);
  const wait = begin(m, 'vcpu0', () => kvm_wait_lapic_expire(m, 0));
  goOn(m, 'vcpu0');
  expect(wait.done).toBe(false);
  m.vm.now = 10_000;
  goOn(m, 'vcpu0');
  expect(wait.done).toBe(true);
  // It was 1000 cycles too early: the next one fires an eighth of that later.
  expect(timerOf(m).timer_advance_ns).toBe(875);
});

test('leaving the deadline mode stops the timer', () => {
  const m = machineWith();
  deadlineAt(m, 10_000);
  write(m, APIC_LVTT, timerMode.ONESHOT | vector);
  expect([timerOf(m).armed, timerOf(m).tscdeadline, timerOf(m).timer_mode]).toEqual([false, 0, 0]);
});

test('the VMX preemption timer replaces the hrtimer until the vCPU stops running', () => {
  const m = machineWith();
  m.vm.enable_preemption_timer = true;
  deadlineAt(m, 10_000);
  expect([timerOf(m).hv_timer_in_use, timerOf(m).armed]).toEqual([true, false]);
  expect(m.vcpu[0]!.hv_deadline_tsc).toBe(9000);
  does(m, kvm_lapic_switch_to_sw_timer(m, 0));
  expect([timerOf(m).hv_timer_in_use, timerOf(m).armed]).toEqual([false, true]);
});

test('the exit of the VMX preemption timer sets a periodic timer to its next expiry', () => {
  const m = machineWith();
  m.vm.enable_preemption_timer = true;
  write(m, APIC_LVTT, timerMode.PERIODIC | vector);
  write(m, APIC_TMICT, 1_000_000);
  m.vm.now = 2_000_000;
  does(m, kvm_lapic_expired_hv_timer(m, 0));
  expect([timerOf(m).pending, timerOf(m).hv_timer_in_use]).toEqual([1, true]);
  expect(timerOf(m).target_expiration).toBe(4_000_000);
});

test('a deadline that the VMX preemption timer cannot count to is left to the hrtimer', () => {
  const m = machineWith();
  m.vm.enable_preemption_timer = true;
  deadlineAt(m, 2 ** 40);
  expect([timerOf(m).hv_timer_in_use, timerOf(m).armed]).toEqual([false, true]);
});
