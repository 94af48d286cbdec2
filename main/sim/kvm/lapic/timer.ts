/** The APIC timer: its mode, starting and stopping it, and which timer of the host does it. */
import { hrtimer_cancel, hrtimer_start } from '../../host/hrtimer.ts';
import { cyclesToNs } from '../../hw/tsc.ts';
import { APIC_TMICT } from '../../state/apicdef.ts';
import { timerMode } from '../../state/timer.ts';
import { kvm, type Machine } from '../../steps.ts';
import { kvm_read_l1_tsc } from '../tsc.ts';
import { hvTimer, vmx_cancel_hv_timer, vt_set_hv_timer } from '../vmx/hv_timer.ts';
import { kvm_apic_hw_enabled } from './priority.ts';
import { apic_timer_expired, kvm_can_post_timer_interrupt } from './timer_expiry.ts';
import {
  advance_periodic_target_expiration,
  apic_lvtt_oneshot,
  apic_lvtt_period,
  apic_lvtt_tscdeadline,
  countsDown,
  limit_periodic_timer_frequency,
  set_target_expiration,
} from './timer_target.ts';

const file = 'arch/x86/kvm/lapic.c';

/** @kvm arch/x86/kvm/lapic.c */
export const kvm_can_use_hv_timer = (m: Machine, vcpu: number): boolean =>
  m.vm.enable_preemption_timer && !m.vm.mwait_in_guest && !kvm_can_post_timer_interrupt(m, vcpu);

/** @kvm arch/x86/kvm/lapic.c: cancel_hv_timer */
const cancel_hv_timer = (m: Machine, vcpu: number): void => {
  vmx_cancel_hv_timer(m, vcpu);
  m.vcpu[vcpu]!.apic.lapic_timer.hv_timer_in_use = false;
};

/** Stops the timer, and forgets an expiry that nobody has injected. */
export const cancel_apic_timer = kvm(file, function* cancel_apic_timer(m: Machine, vcpu: number) {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  yield* hrtimer_cancel(m, vcpu);
  if (timer.hv_timer_in_use) {
    yield m.step('stop the VMX preemption timer');
    cancel_hv_timer(m, vcpu);
  }
  yield m.step('pending = 0');
  timer.pending = 0;
});

/** Takes the mode of the timer from LVTT; the deadline mode and the others do not share a count. */
export const apic_update_lvtt = kvm(file, function* apic_update_lvtt(m: Machine, vcpu: number) {
  const { apic, spec } = m.vcpu[vcpu]!;
  const timer = apic.lapic_timer;
  const mode = apic.lvtt & timer.timer_mode_mask;
  if (mode === timer.timer_mode) return;
  const switched = apic_lvtt_tscdeadline(m, vcpu) !== (mode === timerMode.TSCDEADLINE);
  if (switched) {
    yield* cancel_apic_timer(m, vcpu);
    yield m.step('TMICT, period and deadline = 0');
    apic.tmict = 0;
    timer.period = 0;
    timer.tscdeadline = 0;
  }
  yield m.step('timer_mode = {mode}', mode);
  if (switched && (apic.tmict !== 0 || timer.tscdeadline !== 0)) spec.timer_mode_breaks++;
  timer.timer_mode = mode;
  limit_periodic_timer_frequency(m, vcpu);
});

/** Arms the hrtimer for a TSC deadline, a little early; what is past expires at once. */
const start_sw_tscdeadline = kvm(file, function* start_sw_tscdeadline(m: Machine, vcpu: number) {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  if (timer.tscdeadline === 0) return;
  yield m.step('how far is the deadline?');
  const ns = cyclesToNs(m, Math.max(0, timer.tscdeadline - kvm_read_l1_tsc(m)));
  if (ns <= timer.timer_advance_ns) {
    yield* apic_timer_expired(m, vcpu, false);
    return;
  }
  const expires = m.vm.now + ns - timer.timer_advance_ns;
  yield m.step('start the hrtimer');
  hrtimer_start(m, vcpu, expires);
});

/** Arms the hrtimer for a count; one that is past expires at once. */
const start_sw_period = kvm(file, function* start_sw_period(m: Machine, vcpu: number) {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  if (timer.period === 0) return;
  yield m.step('is the expiry past?');
  if (m.vm.now > timer.target_expiration) {
    yield* apic_timer_expired(m, vcpu, false);
    if (apic_lvtt_oneshot(m, vcpu)) return;
    advance_periodic_target_expiration(m, vcpu);
  }
  yield m.step('start the hrtimer');
  hrtimer_start(m, vcpu, timer.target_expiration);
});

const start_sw_timer = kvm(file, function* start_sw_timer(m: Machine, vcpu: number) {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  if (timer.hv_timer_in_use) {
    yield m.step('stop the VMX preemption timer');
    cancel_hv_timer(m, vcpu);
  }
  yield m.step('is an expiry pending?');
  if (!apic_lvtt_period(m, vcpu) && timer.pending !== 0) return;
  if (countsDown(m, vcpu)) yield* start_sw_period(m, vcpu);
  else if (apic_lvtt_tscdeadline(m, vcpu)) yield* start_sw_tscdeadline(m, vcpu);
});

/** Lets the VMX preemption timer do it, and stops the hrtimer; false if it cannot. */
const start_hv_timer = kvm(file, function* start_hv_timer(m: Machine, vcpu: number) {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  if (!kvm_can_use_hv_timer(m, vcpu) || timer.tscdeadline === 0) return false;
  yield m.step('program the VMX preemption timer');
  const outcome = vt_set_hv_timer(m, vcpu, timer.tscdeadline);
  if (outcome < 0) return false;
  timer.hv_timer_in_use = true;
  yield* hrtimer_cancel(m, vcpu);
  // Even if it is past: the exit that follows sets a periodic timer to its next expiry.
  if (apic_lvtt_period(m, vcpu)) return true;
  yield m.step('is an expiry pending, from the hrtimer meanwhile?');
  if (timer.pending !== 0) {
    cancel_hv_timer(m, vcpu);
  } else if (outcome === hvTimer.EXPIRED) {
    yield* apic_timer_expired(m, vcpu, false);
    yield m.step('stop the VMX preemption timer');
    cancel_hv_timer(m, vcpu);
  }
  return true;
});

/** Starts whichever timer of the host can be used. */
export const restart_apic_timer = kvm(file, function* restart_apic_timer(m: Machine, vcpu: number) {
  const timer = m.vcpu[vcpu]!.apic.lapic_timer;
  yield m.step('is an expiry pending?');
  if (!apic_lvtt_period(m, vcpu) && timer.pending !== 0) return;
  const started: boolean = yield* start_hv_timer(m, vcpu);
  if (!started) yield* start_sw_timer(m, vcpu);
});

/** The exit of the VMX preemption timer. */
export const kvm_lapic_expired_hv_timer = kvm(
  file,
  function* kvm_lapic_expired_hv_timer(m: Machine, vcpu: number) {
    const timer = m.vcpu[vcpu]!.apic.lapic_timer;
    yield m.step('is the VMX preemption timer still in use?');
    if (!timer.hv_timer_in_use) return;
    yield* apic_timer_expired(m, vcpu, false);
    yield m.step('stop the VMX preemption timer');
    cancel_hv_timer(m, vcpu);
    if (!apic_lvtt_period(m, vcpu) || timer.period === 0) return;
    advance_periodic_target_expiration(m, vcpu);
    yield* restart_apic_timer(m, vcpu);
  },
);

/** A vCPU that stops running needs a timer that the host fires. */
export const kvm_lapic_switch_to_sw_timer = kvm(
  file,
  function* kvm_lapic_switch_to_sw_timer(m: Machine, vcpu: number) {
    if (m.vcpu[vcpu]!.apic.lapic_timer.hv_timer_in_use) yield* start_sw_timer(m, vcpu);
  },
);

/** It runs again: the timer that counts only in the guest may do. */
export const kvm_lapic_switch_to_hv_timer = kvm(
  file,
  function* kvm_lapic_switch_to_hv_timer(m: Machine, vcpu: number) {
    yield* restart_apic_timer(m, vcpu);
  },
);

/** On another CPU the deadline is another value of its TSC. */
export const kvm_lapic_restart_hv_timer = kvm(
  file,
  function* kvm_lapic_restart_hv_timer(m: Machine, vcpu: number) {
    yield* restart_apic_timer(m, vcpu);
  },
);

/** The hrtimer follows the vCPU to its CPU, unless any CPU can post its interrupt. */
const __kvm_migrate_apic_timer = kvm(
  file,
  function* __kvm_migrate_apic_timer(m: Machine, vcpu: number) {
    if (kvm_can_post_timer_interrupt(m, vcpu)) return;
    const wasArmed: boolean = yield* hrtimer_cancel(m, vcpu);
    if (!wasArmed) return;
    yield m.step('start the hrtimer again');
    hrtimer_start(m, vcpu, m.vcpu[vcpu]!.apic.lapic_timer.expires);
  },
);

/** Handler of MIGRATE_TIMER. @omits the PIT */
export const __kvm_migrate_timers = kvm(
  'arch/x86/kvm/irq.c',
  function* __kvm_migrate_timers(m: Machine, vcpu: number) {
    yield* __kvm_migrate_apic_timer(m, vcpu);
  },
);

/** Starts the timer from `countRegister`: TMICT, or TMCCT where a state is restored. */
export const __start_apic_timer = kvm(
  file,
  function* __start_apic_timer(m: Machine, vcpu: number, countRegister: number) {
    yield m.step('pending = 0');
    const { apic, spec } = m.vcpu[vcpu]!;
    apic.lapic_timer.pending = 0;
    if (!spec.timer_open) spec.timer_open = true;
    if (countsDown(m, vcpu)) {
      yield m.step('period and expiry from the counts');
      if (!set_target_expiration(m, vcpu, countRegister)) return;
    }
    yield* restart_apic_timer(m, vcpu);
  },
);

/** Starts the timer after a write to its count or its deadline. */
export const start_apic_timer = kvm(file, function* start_apic_timer(m: Machine, vcpu: number) {
  yield* __start_apic_timer(m, vcpu, APIC_TMICT);
});

/** RDMSR of IA32_TSC_DEADLINE. @kvm arch/x86/kvm/lapic.c */
export const kvm_get_lapic_tscdeadline_msr = (m: Machine, vcpu: number): number =>
  kvm_apic_hw_enabled(m, vcpu) && apic_lvtt_tscdeadline(m, vcpu)
    ? m.vcpu[vcpu]!.apic.lapic_timer.tscdeadline
    : 0;

/** WRMSR of IA32_TSC_DEADLINE: without effect in the other modes. */
export const kvm_set_lapic_tscdeadline_msr = kvm(
  file,
  function* kvm_set_lapic_tscdeadline_msr(m: Machine, vcpu: number, deadline: number) {
    if (!kvm_apic_hw_enabled(m, vcpu) || !apic_lvtt_tscdeadline(m, vcpu)) return;
    yield* hrtimer_cancel(m, vcpu);
    yield m.step('write the deadline');
    const { apic, spec } = m.vcpu[vcpu]!;
    apic.lapic_timer.tscdeadline = deadline;
    if (!apic_lvtt_tscdeadline(m, vcpu)) spec.timer_mode_breaks++;
    yield* start_apic_timer(m, vcpu);
  },
);
