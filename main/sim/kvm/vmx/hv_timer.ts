/** The VMX preemption timer in the place of the hrtimer, while the vCPU runs. */
import type { Machine } from '../../steps.ts';
import { ERANGE } from '../errno.ts';
import { kvm_read_l1_tsc, nsec_to_cycles, rdtsc } from '../tsc.ts';

/** It counts once in 2^5 cycles: bits 4:0 of IA32_VMX_MISC on most CPUs *(unverified)*. */
const cpu_preemption_timer_multi = 5;
const preemptionTimerMax = 0xffff_ffff;

/** What came of programming it. */
export const hvTimer = { SET: 0, EXPIRED: 1, TOO_FAR: -ERANGE } as const;
type HvTimer = (typeof hvTimer)[keyof typeof hvTimer];

/**
 * Programs the timer for a guest TSC, a little early as the hrtimer is.
 * @kvm arch/x86/kvm/vmx/vmx.c
 */
export const vmx_set_hv_timer = (m: Machine, vcpu: number, deadline: number): HvTimer => {
  const target = m.vcpu[vcpu]!;
  const advance = nsec_to_cycles(m, target.apic.lapic_timer.timer_advance_ns);
  const delta = Math.max(0, deadline - kvm_read_l1_tsc(m) - advance);
  if (delta / 2 ** cpu_preemption_timer_multi > preemptionTimerMax) return hvTimer.TOO_FAR;
  target.hv_deadline_tsc = rdtsc(m) + delta;
  return delta === 0 ? hvTimer.EXPIRED : hvTimer.SET;
};

/** @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_cancel_hv_timer = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.hv_deadline_tsc = 0;
};
