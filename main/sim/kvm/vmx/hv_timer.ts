/** The VMX preemption timer in the place of the hrtimer, while the vCPU runs. */
import { preemptionTimerRate } from '../../hw/preemption_timer.ts';
import { rdtsc } from '../../hw/tsc.ts';
import { currentVmcs } from '../../hw/vmcs.ts';
import { kvm, type Machine } from '../../steps.ts';
import { EINVAL, ERANGE } from '../errno.ts';
import { kvm_read_l1_tsc, nsec_to_cycles } from '../tsc.ts';

const cpu_preemption_timer_multi = 2 ** preemptionTimerRate;
/** The control stays on while nothing is to expire: this count takes longer than any stay. */
export const timerSoftDisabled = 0xffff_ffff;

/** What came of programming it; negative if it cannot be done. */
export const hvTimer = { SET: 0, EXPIRED: 1, TOO_FAR: -ERANGE, NOT_IN_TD: -EINVAL } as const;
type HvTimer = (typeof hvTimer)[keyof typeof hvTimer];

/**
 * Programs the timer for a guest TSC, a little early as the hrtimer is.
 * @kvm arch/x86/kvm/vmx/vmx.c
 */
const vmx_set_hv_timer = (m: Machine, vcpu: number, deadline: number): HvTimer => {
  const target = m.vcpu[vcpu]!;
  const advance = nsec_to_cycles(m, target.apic.lapic_timer.timer_advance_ns);
  const delta = Math.max(0, deadline - kvm_read_l1_tsc(m) - advance);
  const count = Math.floor(delta / cpu_preemption_timer_multi);
  if (count > timerSoftDisabled) return hvTimer.TOO_FAR;
  target.hv_deadline_tsc = rdtsc(m) + delta;
  return delta === 0 ? hvTimer.EXPIRED : hvTimer.SET;
};

/** The VMCS of a TD belongs to the TDX module. @kvm arch/x86/kvm/vmx/main.c */
export const vt_set_hv_timer = (m: Machine, vcpu: number, deadline: number): HvTimer =>
  m.vcpu[vcpu]!.apic.guest_apic_protected ? hvTimer.NOT_IN_TD : vmx_set_hv_timer(m, vcpu, deadline);

/** @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_cancel_hv_timer = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.hv_deadline_tsc = 0;
};

/** The count that leads to the deadline, rounded down: an exit is early, never late. */
const countTo = (m: Machine, deadline: number): number =>
  deadline === 0
    ? timerSoftDisabled
    : Math.floor(Math.max(0, deadline - rdtsc(m)) / cpu_preemption_timer_multi);

/** Before each entry: what is left to the deadline; 0 for an exit before the first instruction. */
export const vmx_update_hv_timer = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_update_hv_timer(m: Machine, vcpu: number, forceImmediateExit: boolean) {
    const vmcs = currentVmcs(m, vcpu);
    const { hv_deadline_tsc: deadline } = m.vcpu[vcpu]!;
    const disabled = vmcs.vmx_preemption_timer_value === timerSoftDisabled;
    if (!forceImmediateExit && deadline === 0 && disabled) return;
    yield m.step('VMWRITE the VMX preemption timer');
    vmcs.vmx_preemption_timer_value = forceImmediateExit ? 0 : countTo(m, deadline);
  },
);
