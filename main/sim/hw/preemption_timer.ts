/** The VMX preemption timer: a count of the VMCS that runs down while the guest runs. */
import { pinControl } from '../state/vmcs.ts';
import type { Machine } from '../steps.ts';
import { rdtsc } from './tsc.ts';
import { currentVmcs, pinOn } from './vmcs.ts';

/** It counts when this bit of the TSC changes: IA32_VMX_MISC 4:0, 5 on most CPUs *(unverified)*. */
export const preemptionTimerRate = 5;
const cyclesOfCount = 2 ** preemptionTimerRate;

/**
 * VM entry loads the count; nothing is saved at the exit.
 * @sdm 27.7.4 VMX-Preemption Timer
 */
export const startPreemptionTimer = (m: Machine, vcpu: number): void => {
  const vmcs = currentVmcs(m, vcpu);
  if (!pinOn(vmcs, pinControl.PREEMPTION_TIMER)) return;
  const now = Math.floor(rdtsc(m) / cyclesOfCount);
  m.vcpu[vcpu]!.preemption_timer_expiry = (now + vmcs.vmx_preemption_timer_value) * cyclesOfCount;
};

/**
 * Has it come to 0? Then the guest exits at the next boundary, also out of HLT.
 * @sdm 26.5.1 VMX-Preemption Timer
 */
export const preemptionTimerExpired = (m: Machine, vcpu: number): boolean =>
  pinOn(currentVmcs(m, vcpu), pinControl.PREEMPTION_TIMER) &&
  rdtsc(m) >= m.vcpu[vcpu]!.preemption_timer_expiry;
