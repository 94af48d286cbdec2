/** The VMX preemption timer of L2: KVM emulates it with a timer of the host. */
import { hostTimer, hrtimer_cancel, hrtimer_start } from '../../../host/hrtimer.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { pinControl } from '../../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { kvm_make_request, kvm_vcpu_kick } from '../../kvm_main.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** One tick of the timer is 2^5 of the TSC. @kvm arch/x86/kvm/vmx/vmx.h */
const VMX_MISC_EMULATED_PREEMPTION_TIMER_RATE = 5;
const NS_PER_MS = 1_000_000;

/** @kvm arch/x86/kvm/vmx/nested.h: nested_cpu_has_preemption_timer */
const hasTimer = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.nested.cached_vmcs12.pin_based_vm_exec_control.has(pinControl.PREEMPTION_TIMER);

/** Has the timer of L2 run out? @kvm nested.c */
export const nested_vmx_preemption_timer_pending = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.nested.preemption_timer_expired && hasTimer(m, vcpu);

/** Runs when the time is over, on whichever CPU. It does not run again by itself. */
export const vmx_preemption_timer_fn = kvm(
  file,
  function* vmx_preemption_timer_fn(m: Machine, vcpu: number) {
    yield m.step('preemption_timer_expired = true');
    m.vcpu[vcpu]!.nested.preemption_timer_expired = true;
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    yield* kvm_vcpu_kick(m, vcpu);
    return false;
  },
);

/**
 * Starts the timer with what vmcs12 says. 0 ends L2 before its first instruction.
 * @omits that a restored L2 goes on with what was left
 */
export const vmx_start_preemption_timer = kvm(
  file,
  function* vmx_start_preemption_timer(m: Machine, vcpu: number) {
    const { nested } = m.vcpu[vcpu]!;
    if (nested.preemption_timer_expired) nested.preemption_timer_expired = false;
    if (!hasTimer(m, vcpu)) return;
    const { vmx_preemption_timer_value: ticks } = nested.cached_vmcs12;
    if (ticks === 0) {
      yield* vmx_preemption_timer_fn(m, vcpu);
      return;
    }
    yield m.step('start the timer: {ticks} ticks', ticks);
    const cycles = ticks * 2 ** VMX_MISC_EMULATED_PREEMPTION_TIMER_RATE;
    const ns = Math.floor((cycles * NS_PER_MS) / m.vm.tsc_khz);
    hrtimer_start(m, vcpu, m.vm.now + ns, hostTimer.PREEMPTION);
  },
);

/**
 * L2 has ended.
 * @kvm nested.c: __nested_vmx_vmexit
 * @omits that L1 can have it saved how much time was left
 */
export function* stopPreemptionTimer(m: Machine, vcpu: number): Body<void> {
  if (hasTimer(m, vcpu)) yield* hrtimer_cancel(m, vcpu, hostTimer.PREEMPTION);
}
