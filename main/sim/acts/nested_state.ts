/** What user space does with the nested state of a vCPU. */
import { vmx_get_nested_state, vmx_set_nested_state } from '../kvm/vmx/nested/state.ts';
import { nestedStateHeader } from '../state/nested_state.ts';
import { type Machine, scenarioActor } from '../steps.ts';
import { withMutex } from './user_space.ts';

/** KVM_GET_NESTED_STATE. */
export const ioctlGetNestedState = scenarioActor(function* ioctlGetNestedState(
  m: Machine,
  vcpu: number,
) {
  yield* withMutex(m, vcpu, () => vmx_get_nested_state(m, vcpu));
});

/** KVM_SET_NESTED_STATE of what user space has. */
export const ioctlSetNestedState = scenarioActor(function* ioctlSetNestedState(
  m: Machine,
  vcpu: number,
) {
  yield* withMutex(m, vcpu, () => vmx_set_nested_state(m, vcpu));
});

/** User space changes a field of the header that it keeps. */
export const editNestedState = scenarioActor(function* editNestedState(
  m: Machine,
  vcpu: number,
  field: number,
  value: number,
) {
  yield m.step('user space changes field {field} of its nested state', field);
  const state = m.vcpu[vcpu]!.user_nested_state;
  const name = nestedStateHeader[field]!;
  if (name === 'flags' || name === 'smm_flags' || name === 'vmx_flags') {
    state[name].setWord(0, value);
  } else {
    state[name] = value;
  }
});
