/** KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE: a hypervisor guest on its way to another host. */
import { maskOf } from '../../../hw/vmcs.ts';
import { EVMPTR_MAP_PENDING, INVALID_GPA } from '../../../state/addresses.ts';
import {
  NESTED_STATE_HEADER,
  NESTED_STATE_WITH_VMCS12,
  nestedSmmFlag,
  nestedStateFlag,
  nestedVmxFlag,
} from '../../../state/nested_state.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { VMCS12_REVISION, vmcs12Bytes } from '../../../state/vmcs12.ts';
import { type Body, baseOf, kvm, type Machine } from '../../../steps.ts';
import { EINVAL } from '../../errno.ts';
import { kvm_make_request } from '../../kvm_main.ts';
import {
  nested_vmx_check_controls,
  nested_vmx_check_guest_state,
  page_address_valid,
} from './checks.ts';
import { nested_vmx_is_evmptr12_valid, refreshVmcs12 } from './evmcs.ts';
import { enter_vmx_operation, free_nested } from './operation.ts';
import { nested_vmx_enter_non_root_mode, nvmxVmentry } from './run.ts';
import { set_current_vmptr } from './vmcs12.ts';
import { __nested_vmx_vmexit, exitTo, NO_EXIT, sync_vmcs02_to_vmcs12 } from './vmexit.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

type NestedStateView = Machine['vcpu'][number]['user_nested_state'];
type Vmcs12View = NestedStateView['vmcs12'];

const copyVmcs12 = (m: Machine, from: Vmcs12View, to: Vmcs12View): void => {
  const [source, target] = [baseOf(from), baseOf(to)];
  for (let word = 0; word < vmcs12Bytes / 4; word++) {
    const value = m.arena.load(source + word);
    if (m.arena.load(target + word) !== value) m.arena.store(target + word, value);
  }
};

const set = (flags: NestedStateView['flags'], bit: number, on: boolean): void => {
  if (on) flags.set(bit);
};

/** @kvm arch/x86/kvm/vmx/nested.h: vmx_has_valid_vmcs12 */
const hasVmcs12 = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.nested.current_vmptr !== INVALID_GPA || nested_vmx_is_evmptr12_valid(m, vcpu);

/** The header, and how much follows it. */
const fillHeader = (m: Machine, vcpu: number): void => {
  const { nested, guest_mode, user_nested_state: state } = m.vcpu[vcpu]!;
  state.flags.clearAll();
  state.smm_flags.clearAll();
  state.vmx_flags.clearAll();
  state.format = 0;
  state.size = NESTED_STATE_HEADER;
  state.vmxon_pa = INVALID_GPA;
  state.vmcs12_pa = INVALID_GPA;
  if (!m.vm.enable_vmx || !(nested.vmxon || nested.smm_vmxon)) return;
  state.vmxon_pa = nested.vmxon_ptr;
  state.vmcs12_pa = nested.current_vmptr;
  if (hasVmcs12(m, vcpu)) state.size = NESTED_STATE_WITH_VMCS12;
  set(state.smm_flags, nestedSmmFlag.VMXON, nested.smm_vmxon);
  set(state.smm_flags, nestedSmmFlag.GUEST_MODE, nested.smm_guest_mode);
  set(state.flags, nestedStateFlag.EVMCS, nested.hv_evmcs_vmptr !== INVALID_GPA);
  set(state.flags, nestedStateFlag.GUEST_MODE, guest_mode);
  set(state.flags, nestedStateFlag.RUN_PENDING, guest_mode && nested.nested_run_pending);
  set(state.flags, nestedStateFlag.MTF_PENDING, guest_mode && nested.mtf_pending);
};

/**
 * KVM_GET_NESTED_STATE into `user_nested_state`. What a notification has left in pi_pending, the
 * mapped pages and what vmcs01 owes are not in it.
 * @omits shadow VMCSs of L1, the preemption timer
 */
export const vmx_get_nested_state = kvm(
  file,
  function* vmx_get_nested_state(m: Machine, vcpu: number) {
    const { nested, guest_mode, user_nested_state: state } = m.vcpu[vcpu]!;
    yield m.step('the header: flags, VMXON region, current VMCS');
    fillHeader(m, vcpu);
    if (!hasVmcs12(m, vcpu)) return state.size;
    if (guest_mode) yield* sync_vmcs02_to_vmcs12(m, vcpu);
    else yield* refreshVmcs12(m, vcpu);
    yield m.step('copy vmcs12 to user space');
    copyVmcs12(m, nested.cached_vmcs12, state.vmcs12);
    return state.size;
  },
);

const knownFlags = maskOf(...Object.values(nestedStateFlag));
const knownSmmFlags = maskOf(...Object.values(nestedSmmFlag));
const knownVmxFlags = maskOf(...Object.values(nestedVmxFlag));
const runFlags = maskOf(nestedStateFlag.GUEST_MODE, nestedStateFlag.RUN_PENDING);
const evmcsFlag = maskOf(nestedStateFlag.EVMCS);

/** @kvm arch/x86/kvm/x86.c: KVM_SET_NESTED_STATE in kvm_arch_vcpu_ioctl */
const isIoctlFit = ({ flags, size }: NestedStateView): boolean => {
  if (size < NESTED_STATE_HEADER || (flags.word(0) & ~knownFlags) !== 0) return false;
  const guestMode = flags.has(nestedStateFlag.GUEST_MODE);
  return guestMode || !flags.has(nestedStateFlag.RUN_PENDING);
};

const areAddressesFit = (m: Machine, state: NestedStateView): boolean => {
  const { vmxon_pa, vmcs12_pa, flags, smm_flags } = state;
  if (vmxon_pa !== INVALID_GPA) return m.vm.enable_vmx && page_address_valid(m, vmxon_pa);
  return !smm_flags.any() && vmcs12_pa === INVALID_GPA && (flags.word(0) & ~evmcsFlag) === 0;
};

const areSmmFlagsFit = (m: Machine, vcpu: number, state: NestedStateView): boolean => {
  const { flags, smm_flags } = state;
  const smmGuestMode = smm_flags.has(nestedSmmFlag.GUEST_MODE);
  if (smmGuestMode && flags.has(nestedStateFlag.GUEST_MODE)) return false;
  if ((smm_flags.word(0) & ~knownSmmFlags) !== 0) return false;
  const inSmm = m.vcpu[vcpu]!.in_smm;
  if (inSmm ? (flags.word(0) & runFlags) !== 0 : smm_flags.any()) return false;
  return !smmGuestMode || smm_flags.has(nestedSmmFlag.VMXON);
};

const offersEvmcs = (m: Machine, vcpu: number): boolean =>
  m.vm.enable_vmx && m.vcpu[vcpu]!.nested.enlightened_vmcs_enabled;

/** The checks that come before anything is changed. */
const isHeaderFit = (m: Machine, vcpu: number): boolean => {
  const state = m.vcpu[vcpu]!.user_nested_state;
  return (
    isIoctlFit(state) &&
    state.format === 0 &&
    areAddressesFit(m, state) &&
    areSmmFlagsFit(m, vcpu, state) &&
    (state.vmx_flags.word(0) & ~knownVmxFlags) === 0 &&
    (!state.flags.has(nestedStateFlag.EVMCS) || offersEvmcs(m, vcpu))
  );
};

/** Out of L2 without telling L1, and out of VMX operation. */
export const vmx_leave_nested = kvm(file, function* vmx_leave_nested(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  if (target.guest_mode) {
    yield m.step('nested_run_pending = 0');
    target.nested.nested_run_pending = false;
    yield* __nested_vmx_vmexit(m, vcpu, exitTo(NO_EXIT));
  }
  yield* free_nested(m, vcpu);
});

/** L2 goes on where it was: its vmcs12 must be fit for an entry. */
function* resumeL2(m: Machine, vcpu: number): Body<number> {
  const { nested, user_nested_state: state } = m.vcpu[vcpu]!;
  yield m.step('nested_run_pending and mtf_pending as saved');
  nested.nested_run_pending = state.flags.has(nestedStateFlag.RUN_PENDING);
  nested.mtf_pending = state.flags.has(nestedStateFlag.MTF_PENDING);
  const fit = nested_vmx_check_controls(m, vcpu) && nested_vmx_check_guest_state(m, vcpu);
  if (fit) {
    nested.dirty_vmcs12 = true;
    nested.force_msr_bitmap_recalc = true;
    const status: number = yield* nested_vmx_enter_non_root_mode(m, vcpu, false);
    if (status === nvmxVmentry.SUCCESS) {
      if (!nested.mtf_pending) return 0;
      yield m.step('make EVENT');
      kvm_make_request(m, vcpu, KVM_REQ.EVENT);
      return 0;
    }
  }
  // The vCPU stays in VMX operation.
  nested.nested_run_pending = false;
  return -EINVAL;
}

/** The current vmcs12 of the state, behind the checks of its address. */
function* takeVmcs12(m: Machine, vcpu: number): Body<number> {
  const { nested, user_nested_state: state } = m.vcpu[vcpu]!;
  const { vmcs12_pa } = state;
  if (vmcs12_pa !== INVALID_GPA) {
    if (vmcs12_pa === state.vmxon_pa || !page_address_valid(m, vmcs12_pa)) return -EINVAL;
    yield* set_current_vmptr(m, vcpu, vmcs12_pa);
  } else if (state.flags.has(nestedStateFlag.EVMCS)) {
    yield m.step('the enlightened VMCS is mapped later: make GET_NESTED_STATE_PAGES');
    nested.hv_evmcs_vmptr = EVMPTR_MAP_PENDING;
    kvm_make_request(m, vcpu, KVM_REQ.GET_NESTED_STATE_PAGES);
  } else {
    return -EINVAL;
  }
  if (state.smm_flags.has(nestedSmmFlag.VMXON)) {
    nested.smm_vmxon = true;
    nested.vmxon = false;
    nested.smm_guest_mode = state.smm_flags.has(nestedSmmFlag.GUEST_MODE);
  }
  yield m.step('copy vmcs12 from user space');
  copyVmcs12(m, state.vmcs12, nested.cached_vmcs12);
  return nested.cached_vmcs12.revision_id === VMCS12_REVISION ? 0 : -EINVAL;
}

/** KVM_SET_NESTED_STATE from `user_nested_state`: 0 or −EINVAL. */
export const vmx_set_nested_state = kvm(
  file,
  function* vmx_set_nested_state(m: Machine, vcpu: number) {
    const { nested, user_nested_state: state } = m.vcpu[vcpu]!;
    yield m.step('is the header fit?');
    if (!isHeaderFit(m, vcpu)) return -EINVAL;
    yield* vmx_leave_nested(m, vcpu);
    if (state.vmxon_pa === INVALID_GPA) return 0;
    yield m.step('vmxon_ptr as saved');
    nested.vmxon_ptr = state.vmxon_pa;
    yield* enter_vmx_operation(m, vcpu);
    const guestMode = state.flags.has(nestedStateFlag.GUEST_MODE);
    if (state.size < NESTED_STATE_WITH_VMCS12) {
      const bare = !guestMode && !state.flags.has(nestedStateFlag.EVMCS);
      return bare && state.vmcs12_pa === INVALID_GPA ? 0 : -EINVAL;
    }
    const taken: number = yield* takeVmcs12(m, vcpu);
    if (taken !== 0 || !guestMode) return taken;
    return yield* resumeL2(m, vcpu);
  },
);
