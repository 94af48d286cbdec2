/** KVM_MP_STATE_*: is the vCPU running, halted, or waiting for its start. */

import { apicEvent } from '../state/lapic.ts';
import { KVM_REQ } from '../state/requests.ts';
import { mpState } from '../state/vcpu.ts';
import { kvm, type Machine } from '../steps.ts';
import { EINVAL } from './errno.ts';
import { kvm_make_request } from './kvm_main.ts';

type MpState = (typeof mpState)[keyof typeof mpState];

/** @kvm arch/x86/kvm/x86.h */
export const kvm_set_mp_state = (m: Machine, vcpu: number, state: MpState): void => {
  const target = m.vcpu[vcpu]!;
  if (target.mp_state !== state) target.mp_state = state;
  if (state === mpState.RUNNABLE && target.pv_unhalted) target.pv_unhalted = false;
};

/**
 * In VMX operation INIT waits until VMXOFF, or ends L2; a TD never takes one.
 * @kvm arch/x86/kvm/vmx/main.c
 */
const vt_apic_init_signal_blocked = (m: Machine, vcpu: number): boolean => {
  const { nested, guest_mode, apic } = m.vcpu[vcpu]!;
  return apic.guest_apic_protected || (nested.vmxon && !guest_mode);
};

/** May INIT and SIPI be taken now? @kvm arch/x86/kvm/lapic.h */
export const kvm_apic_init_sipi_allowed = (m: Machine, vcpu: number): boolean =>
  !m.vcpu[vcpu]!.in_smm && !vt_apic_init_signal_blocked(m, vcpu);

const settable: readonly number[] = Object.values(mpState);

/** KVM_SET_MP_STATE; −EINVAL for a state that there is not, or not now. */
export const kvm_arch_vcpu_ioctl_set_mpstate = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_arch_vcpu_ioctl_set_mpstate(m: Machine, vcpu: number, state: number) {
    const target = m.vcpu[vcpu]!;
    if (!settable.includes(state)) return -EINVAL;
    const signal = state === mpState.SIPI_RECEIVED || state === mpState.INIT_RECEIVED;
    const blocked = target.smi_pending || !kvm_apic_init_sipi_allowed(m, vcpu);
    if (signal && blocked) return -EINVAL;
    yield m.step('mp_state = {state}', state);
    if (state === mpState.SIPI_RECEIVED) {
      kvm_set_mp_state(m, vcpu, mpState.INIT_RECEIVED);
      yield m.step('the state is obsolete: set SIPI instead');
      target.apic.pending_events.set(apicEvent.SIPI);
    } else {
      // Checked above to be one of them.
      kvm_set_mp_state(m, vcpu, state as MpState);
    }
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    return 0;
  },
);
