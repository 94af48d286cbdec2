/** When the APIC timer is due: counts, periods and deadlines as KVM computes them. */
import { APIC_TMCCT } from '../../state/apicdef.ts';
import { timerMode } from '../../state/timer.ts';
import type { Machine } from '../../steps.ts';
import { kvm_read_l1_tsc, nsec_to_cycles } from '../tsc.ts';

/** @kvm arch/x86/kvm/lapic.c */
export const apic_lvtt_oneshot = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.apic.lapic_timer.timer_mode === timerMode.ONESHOT;

/** @kvm arch/x86/kvm/lapic.c */
export const apic_lvtt_period = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.apic.lapic_timer.timer_mode === timerMode.PERIODIC;

/** @kvm arch/x86/kvm/lapic.c */
export const apic_lvtt_tscdeadline = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.apic.lapic_timer.timer_mode === timerMode.TSCDEADLINE;

/** Does TMICT set the timer? Both mode bits together are reserved, and nothing starts it then. */
export const countsDown = (m: Machine, vcpu: number): boolean =>
  apic_lvtt_oneshot(m, vcpu) || apic_lvtt_period(m, vcpu);

/** Bus cycles for each tick, from TDCR: 2, 4 … 128, or 1. @kvm arch/x86/kvm/lapic.c */
export const update_divide_count = (m: Machine, vcpu: number): void => {
  const { apic } = m.vcpu[vcpu]!;
  const power = ((apic.tdcr & 3) | ((apic.tdcr & 8) >> 1)) + 1;
  apic.divide_count = 1 << (power & 7);
};

/** @kvm arch/x86/kvm/lapic.c */
const tmict_to_ns = (m: Machine, vcpu: number, count: number): number =>
  count * m.vm.apic_bus_cycle_ns * m.vcpu[vcpu]!.apic.divide_count;

/** A periodic timer is no faster than the host allows. @kvm arch/x86/kvm/lapic.c */
export const limit_periodic_timer_frequency = (m: Machine, vcpu: number): void => {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  if (!apic_lvtt_period(m, vcpu) || timer.period === 0) return;
  const least = m.vm.min_timer_period_us * 1000;
  if (timer.period < least) timer.period = least;
};

/** Sets the length of the timer from TMICT; that of a restored one may be over sooner. */
const setPeriod = (m: Machine, vcpu: number): number => {
  const { apic } = m.vcpu[vcpu]!;
  const timer = apic.lapic_timer;
  timer.period = tmict_to_ns(m, vcpu, apic.tmict);
  limit_periodic_timer_frequency(m, vcpu);
  return timer.period;
};

/** ns to the first expiry of a timer that KVM_SET_LAPIC restores in the middle of its count. */
const restoredDeadline = (m: Machine, vcpu: number, period: number): number => {
  const { apic } = m.vcpu[vcpu]!;
  const left = tmict_to_ns(m, vcpu, apic.tmcct);
  if (left === 0) return apic_lvtt_period(m, vcpu) ? period : 0;
  if (left <= period) return left;
  apic.tmcct = 0;
  return period;
};

/**
 * Computes period and deadline from the counts; false if the timer stays off.
 * @kvm arch/x86/kvm/lapic.c
 */
export const set_target_expiration = (m: Machine, vcpu: number, countRegister: number): boolean => {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  const period = setPeriod(m, vcpu);
  if (period === 0) {
    timer.tscdeadline = 0;
    return false;
  }
  const ns = countRegister === APIC_TMCCT ? restoredDeadline(m, vcpu, period) : period;
  timer.tscdeadline = kvm_read_l1_tsc(m) + nsec_to_cycles(m, ns);
  timer.target_expiration = m.vm.now + ns;
  return true;
};

/** The divisor changed: what is left takes longer or shorter. @kvm arch/x86/kvm/lapic.c */
export const update_target_expiration = (m: Machine, vcpu: number, oldDivisor: number): void => {
  const { divide_count, lapic_timer: timer } = m.vcpu[vcpu]!.apic;
  setPeriod(m, vcpu);
  const oldLeft = Math.max(0, timer.target_expiration - m.vm.now);
  const newLeft = Math.floor((oldLeft * divide_count) / oldDivisor);
  timer.tscdeadline += nsec_to_cycles(m, newLeft) - nsec_to_cycles(m, oldLeft);
  timer.target_expiration = m.vm.now + newLeft;
};

/** The next expiry of a periodic timer; those that were missed collapse into one, now. */
export const advance_periodic_target_expiration = (m: Machine, vcpu: number): void => {
  const { apic, spec } = m.vcpu[vcpu]!;
  const timer = apic.lapic_timer;
  if (!spec.timer_open) spec.timer_open = true;
  timer.target_expiration = Math.max(timer.target_expiration + timer.period, m.vm.now);
  const left = timer.target_expiration - m.vm.now;
  timer.tscdeadline = kvm_read_l1_tsc(m) + nsec_to_cycles(m, left);
};

/** The current count, from the time that is left. @kvm arch/x86/kvm/lapic.c */
const apic_get_tmcct = (m: Machine, vcpu: number): number => {
  const { tmict, divide_count, lapic_timer: timer } = m.vcpu[vcpu]!.apic;
  if (tmict === 0 || timer.period === 0) return 0;
  const left = Math.max(0, timer.target_expiration - m.vm.now) % timer.period;
  return Math.floor(left / (m.vm.apic_bus_cycle_ns * divide_count));
};

/** What TMCCT reads as. @kvm arch/x86/kvm/lapic.c: __apic_read */
export const currentCount = (m: Machine, vcpu: number): number =>
  apic_lvtt_tscdeadline(m, vcpu) ? 0 : apic_get_tmcct(m, vcpu);
