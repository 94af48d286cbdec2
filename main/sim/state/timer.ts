/** struct kvm_timer: the APIC timer as KVM keeps it. */
import { counter, flag, oneOf, record, s32, u32, u64 } from '../arena/fields.ts';

/** Bits 18:17 of LVTT. */
export const timerMode = { ONESHOT: 0, PERIODIC: 1 << 17, TSCDEADLINE: 2 << 17 } as const;

/** How early timers fire until KVM has learned better. */
export const LAPIC_TIMER_ADVANCE_NS_INIT = 1000;

/** @kvm include/linux/hrtimer.h */
export const Hrtimer = record('hrtimer', 'a timer of the host', {
  armed: flag('the timer is started'),
  running: flag('its callback runs: whoever cancels it waits'),
  expires: u64({ as: 'dec' }, 'when it fires, ns of the host clock (vm.now)'),
});

export const KvmTimer = record('kvm_timer', 'the APIC timer', {
  armed: flag('the hrtimer is started'),
  running: flag('its callback runs: whoever cancels it waits'),
  expires: u64({ as: 'dec' }, 'when the hrtimer fires, ns of the host clock (vm.now)'),
  period: u64({ as: 'dec' }, 'ns between expiries, and the length of a one-shot; 0: stopped'),
  target_expiration: u64({ as: 'dec' }, 'when the timer is due, ns of the host clock'),
  timer_mode: oneOf(timerMode, 'one-shot, periodic or TSC deadline; from LVTT'),
  timer_mode_mask: u32('bits of LVTT that choose the mode: 17, and 18 with TSC deadline in CPUID'),
  tscdeadline: u64('MSR IA32_TSC_DEADLINE: guest TSC at which the timer is due, 0: disarmed'),
  expired_tscdeadline: u64('deadline that has fired and whose interrupt waits for its exact time'),
  timer_advance_ns: counter('how much earlier than the deadline the hrtimer fires'),
  pending: s32('expiries that are not injected yet; 0 or 1 in practice'),
  hv_timer_in_use: flag('the VMX preemption timer stands in for the hrtimer'),
});
