/** The APIC timer has expired: who notes it, and who injects the interrupt. */
import { cyclesToNs } from '../../hw/tsc.ts';
import { APIC_LVTT, APIC_VECTOR_MASK } from '../../state/apicdef.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { LAPIC_TIMER_ADVANCE_NS_INIT } from '../../state/timer.ts';
import { vcpuMode } from '../../state/vcpu.ts';
import { type Condition, kvm, type Machine } from '../../steps.ts';
import { kvm_make_request, kvm_vcpu_kick } from '../kvm_main.ts';
import { kvm_read_l1_tsc } from '../tsc.ts';
import { kvm_apic_local_deliver } from './accept.ts';
import { kvm_apic_hw_enabled } from './priority.ts';
import {
  advance_periodic_target_expiration,
  apic_lvtt_oneshot,
  apic_lvtt_period,
  apic_lvtt_tscdeadline,
} from './timer_target.ts';

const file = 'arch/x86/kvm/lapic.c';

const LAPIC_TIMER_ADVANCE_NS_MAX = 5000;
/** In cycles: smaller differences are noise, larger ones an accident. */
const LAPIC_TIMER_ADVANCE_ADJUST_MIN = 100;
const LAPIC_TIMER_ADVANCE_ADJUST_MAX = 10_000;
const LAPIC_TIMER_ADVANCE_ADJUST_STEP = 8;

/** @kvm arch/x86/kvm/lapic.c */
export const kvm_can_post_timer_interrupt = (m: Machine, vcpu: number): boolean =>
  m.vm.pi_inject_timer &&
  m.vcpu[vcpu]!.apic.apicv_active &&
  (m.vm.mwait_in_guest || m.vm.hlt_in_guest);

/** @kvm arch/x86/kvm/lapic.c */
const kvm_use_posted_timer_interrupt = (m: Machine, vcpu: number): boolean =>
  kvm_can_post_timer_interrupt(m, vcpu) && m.vcpu[vcpu]!.mode === vcpuMode.IN_GUEST_MODE;

/** Moves the advance by an eighth of how much too late (negative: too early) the timer was. */
const adjust_lapic_timer_advance = (m: Machine, vcpu: number, delta: number): void => {
  const distance = Math.abs(delta);
  if (distance < LAPIC_TIMER_ADVANCE_ADJUST_MIN) return;
  if (distance > LAPIC_TIMER_ADVANCE_ADJUST_MAX) return;
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  const by = Math.floor(cyclesToNs(m, distance) / LAPIC_TIMER_ADVANCE_ADJUST_STEP);
  const next = timer.timer_advance_ns + (delta < 0 ? -by : by);
  // It is unsigned there: what would be negative is too much as well.
  const sane = next >= 0 && next <= LAPIC_TIMER_ADVANCE_NS_MAX;
  timer.timer_advance_ns = sane ? next : LAPIC_TIMER_ADVANCE_NS_INIT;
};

const clockAt: Condition = (m, ns) => m.vm.now >= ns;

/** Waits out what is left to a deadline whose timer fired early, and learns from it. */
const __kvm_wait_lapic_expire = kvm(
  file,
  function* __kvm_wait_lapic_expire(m: Machine, vcpu: number) {
    const timer = m.vcpu[vcpu]!.apic.lapic_timer;
    yield m.step('how far is the deadline? expired_tscdeadline = 0');
    const late = kvm_read_l1_tsc(m) - timer.expired_tscdeadline;
    timer.expired_tscdeadline = 0;
    adjust_lapic_timer_advance(m, vcpu, late);
    if (late >= 0) return;
    // A deadline that the guest has moved away is no reason to wait longer.
    const ns = Math.min(cyclesToNs(m, -late), timer.timer_advance_ns);
    yield m.park('busy-wait until the deadline', clockAt, m.vm.now + ns);
  },
);

/** Is the interrupt on its way into the guest? A protected APIC does not show it. */
const lapic_timer_int_injected = (m: Machine, vcpu: number): boolean => {
  const { apic } = m.vcpu[vcpu]!;
  if (apic.guest_apic_protected) return true;
  if (!kvm_apic_hw_enabled(m, vcpu)) return false;
  return (apic.apicv_active ? apic.irr : apic.isr).has(apic.lvtt & APIC_VECTOR_MASK);
};

/** Before an entry: a timer that fired early is injected no earlier than it is due. */
export const kvm_wait_lapic_expire = kvm(
  file,
  function* kvm_wait_lapic_expire(m: Machine, vcpu: number) {
    const timer = m.vcpu[vcpu]!.apic.lapic_timer;
    yield m.step('did a timer fire early, and is its vector on its way?');
    if (timer.expired_tscdeadline === 0 || timer.timer_advance_ns === 0) return;
    if (lapic_timer_int_injected(m, vcpu)) yield* __kvm_wait_lapic_expire(m, vcpu);
  },
);

const kvm_apic_inject_pending_timer_irqs = kvm(
  file,
  function* kvm_apic_inject_pending_timer_irqs(m: Machine, vcpu: number) {
    const timer = m.vcpu[vcpu]!.apic.lapic_timer;
    yield* kvm_apic_local_deliver(m, vcpu, APIC_LVTT);
    yield m.step('a deadline or a one-shot is over');
    const oneshot = apic_lvtt_oneshot(m, vcpu);
    if (oneshot || apic_lvtt_tscdeadline(m, vcpu)) timer.tscdeadline = 0;
    if (oneshot) timer.target_expiration = 0;
  },
);

/** Injects an expiry that was noted; the vCPU's own, between two entries. */
export const kvm_inject_apic_timer_irqs = kvm(
  file,
  function* kvm_inject_apic_timer_irqs(m: Machine, vcpu: number) {
    const timer = m.vcpu[vcpu]!.apic.lapic_timer;
    yield m.step('is an expiry pending?');
    if (timer.pending <= 0) return;
    yield* kvm_apic_inject_pending_timer_irqs(m, vcpu);
    yield m.step('pending = 0');
    timer.pending = 0;
  },
);

/**
 * The timer has expired. Only the vCPU's own thread may inject at once: the hrtimer notes the
 * expiry and kicks, unless it can post the interrupt to a vCPU that runs.
 */
export const apic_timer_expired = kvm(
  file,
  function* apic_timer_expired(m: Machine, vcpu: number, fromTimer: boolean) {
    const { apic, spec } = m.vcpu[vcpu]!;
    const timer = apic.lapic_timer;
    yield m.step('is an expiry pending?');
    if (timer.pending !== 0 && m.on('timer-pending-guard')) return;
    if (spec.timer_open) spec.timer_open = false;
    else spec.double_expiries++;
    if (apic_lvtt_tscdeadline(m, vcpu) || timer.hv_timer_in_use) {
      yield m.step('expired_tscdeadline = tscdeadline');
      timer.expired_tscdeadline = timer.tscdeadline;
    }
    if (!fromTimer && apic.apicv_active) {
      yield* kvm_apic_inject_pending_timer_irqs(m, vcpu);
      return;
    }
    yield m.step('can the interrupt be posted to the vCPU while it runs?');
    if (kvm_use_posted_timer_interrupt(m, vcpu)) {
      // The guest must not see it early, and nothing after this could wait.
      if (timer.expired_tscdeadline !== 0 && timer.timer_advance_ns !== 0) {
        yield* __kvm_wait_lapic_expire(m, vcpu);
      }
      yield* kvm_apic_inject_pending_timer_irqs(m, vcpu);
      return;
    }
    yield m.step('pending++');
    timer.pending++;
    yield m.step('make UNBLOCK');
    kvm_make_request(m, vcpu, KVM_REQ.UNBLOCK);
    if (fromTimer) yield* kvm_vcpu_kick(m, vcpu);
  },
);

/** What the hrtimer calls; true lets it run again. */
export const apic_timer_fn = kvm(file, function* apic_timer_fn(m: Machine, vcpu: number) {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  yield* apic_timer_expired(m, vcpu, true);
  yield m.step('a periodic timer is set to its next expiry');
  if (!apic_lvtt_period(m, vcpu) || timer.period === 0) return false;
  advance_periodic_target_expiration(m, vcpu);
  timer.expires = timer.target_expiration;
  return true;
});
