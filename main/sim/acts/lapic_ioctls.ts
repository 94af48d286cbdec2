/** Ioctls that look at the APIC of a vCPU, or let it deliver something, from another thread. */
import { kvm_vcpu_ioctl_get_lapic, type LapicState } from '../kvm/lapic/state.ts';
import { vcpu_ioctl_tpr_access_reporting } from '../kvm/lapic/tpr.ts';
import { kvm_vcpu_x86_set_ucna } from '../kvm/mce.ts';
import { type Machine, scenarioActor } from '../steps.ts';
import { withMutex } from './user_space.ts';

const compareWord = scenarioActor(function* compareWord(
  m: Machine,
  vcpu: number,
  offset: number,
  value: number,
) {
  const state: LapicState | undefined = yield* kvm_vcpu_ioctl_get_lapic(m, vcpu);
  yield m.step('user space compares the register at {offset} with {value}', offset, value);
  const { guest } = m.vcpu[vcpu]!;
  if (state?.[offset >>> 2] === value) guest.verified++;
  else guest.mismatches++;
});

/** KVM_GET_LAPIC: does a register hold the value? */
export const verifyLapic = scenarioActor(function* verifyLapic(
  m: Machine,
  vcpu: number,
  offset: number,
  value: number,
) {
  yield* withMutex(m, vcpu, () => compareWord(m, vcpu, offset, value));
});

/** KVM_TPR_ACCESS_REPORTING. */
export const ioctlReportTpr = scenarioActor(function* ioctlReportTpr(
  m: Machine,
  vcpu: number,
  enabled: boolean,
) {
  yield* withMutex(m, vcpu, () => vcpu_ioctl_tpr_access_reporting(m, vcpu, enabled));
});

/** KVM_X86_SET_MCE. */
export const injectUcna = scenarioActor(function* injectUcna(m: Machine, vcpu: number) {
  yield* withMutex(m, vcpu, () => kvm_vcpu_x86_set_ucna(m, vcpu));
});
