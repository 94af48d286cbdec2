/** VMLAUNCH and VMRESUME of L1: from its instruction into L2. */
import { skipInstruction } from '../../../hw/guest_program.ts';
import { primaryOn } from '../../../hw/vmcs.ts';
import { INVALID_GPA } from '../../../state/addresses.ts';
import type { Program } from '../../../state/program.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { loadedVmcs, mpState } from '../../../state/vcpu.ts';
import {
  activityState,
  cpuControl,
  exitReason,
  INTR_INFO_VALID,
  interruptibility,
  vmInstructionError,
} from '../../../state/vmcs.ts';
import { SHADOW_VMCS } from '../../../state/vmcs12.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { kvm_emulate_halt_noskip } from '../../block.ts';
import { kvm_make_request } from '../../kvm_main.ts';
import { kvm_apic_has_interrupt } from '../../lapic/priority.ts';
import { kvm_set_mp_state } from '../../mp_state.ts';
import { kvm_service_local_tlb_flush_requests } from '../../tlb_flush.ts';
import { usesCaches } from './caches.ts';
import {
  nested_vmx_check_controls,
  nested_vmx_check_controls_late,
  nested_vmx_check_guest_state,
} from './checks.ts';
import {
  evmptrld,
  nested_vmx_handle_enlightened_vmptrld,
  nested_vmx_is_evmptr12_valid,
} from './evmcs.ts';
import { enterL2Registers } from './guest_state.ts';
import { nested_get_vmcs12_pages, nested_put_vmcs12_pages } from './pages.ts';
import { morphAtEntry, notePending } from './posted.ts';
import { vmx_start_preemption_timer } from './preemption_timer.ts';
import { prepare_vmcs02, prepare_vmcs02_early } from './prepare.ts';
import { nested_vmx_fail, nested_vmx_failInvalid } from './vmfail.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** @kvm arch/x86/kvm/vmx/nested.h: enum nvmx_vmentry_status */
export const nvmxVmentry = { SUCCESS: 0, VMFAIL: 1, VMEXIT: 2, KVM_INTERNAL_ERROR: 3 } as const;

/** Makes the VMCS of the other level current on the CPU. */
export const vmx_switch_vmcs = kvm(
  file,
  function* vmx_switch_vmcs(m: Machine, vcpu: number, to: number) {
    yield m.step('load the other VMCS: {vmcs}', to);
    m.vcpu[vcpu]!.loaded_vmcs = to;
  },
);

/** Is there something for L1 that L2 must not hold back? */
function* mustEvaluateEvents(m: Machine, vcpu: number): Body<boolean> {
  const { apic, vmcs01 } = m.vcpu[vcpu]!;
  yield m.step('was L1 waiting for a window; is INIT or SIPI pending?');
  if (primaryOn(vmcs01, cpuControl.INTR_WINDOW) || primaryOn(vmcs01, cpuControl.NMI_WINDOW)) {
    return true;
  }
  if (apic.pending_events.any()) return true;
  return (yield* kvm_apic_has_interrupt(m, vcpu)) !== -1;
}

/** The entry fails behind its checks: L1 sees an exit. */
function* failEntry(m: Machine, vcpu: number): Body<number> {
  yield* vmx_switch_vmcs(m, vcpu, loadedVmcs.VMCS01);
  // Nothing else unmaps what was mapped for this entry: the next one forgets that it is mapped.
  if (m.on('unmap-on-failed-entry') && !usesCaches(m)) yield* nested_put_vmcs12_pages(m, vcpu);
  const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
  yield m.step('load the host state of L1; vmcs12: exit for invalid guest state');
  m.vcpu[vcpu]!.guest.rflags_if = false;
  vmcs12.vm_exit_reason = exitReason.INVALID_GUEST_STATE;
  vmcs12.exit_qualification = 0;
  if (nested_vmx_is_evmptr12_valid(m, vcpu)) {
    m.vcpu[vcpu]!.nested.need_vmcs12_to_shadow_sync = true;
  }
  return nvmxVmentry.VMEXIT;
}

/** Bookkeeping of the checks: the state that was restored does not say that L2 was notified. */
const noteForgotten = (m: Machine, vcpu: number): void => {
  const { spec } = m.vcpu[vcpu]!;
  spec.nested_notified = true;
  if (!m.on('migrate-pi-pending')) spec.notifications_lost++;
};

/**
 * Into L2: by an instruction of L1 (`fromL1`), or because its state was restored, where the pages
 * of L1 wait for a request. Gives one of `nvmxVmentry`.
 * @omits the early check on the hardware, MSR loads
 */
export const nested_vmx_enter_non_root_mode = kvm(
  file,
  function* nested_vmx_enter_non_root_mode(m: Machine, vcpu: number, fromL1: boolean) {
    const target = m.vcpu[vcpu]!;
    yield* kvm_service_local_tlb_flush_requests(m, vcpu);
    yield* vmx_switch_vmcs(m, vcpu, loadedVmcs.VMCS02);
    const notified = target.nested.pi_pending;
    yield* prepare_vmcs02_early(m, vcpu);
    if (notified && !fromL1) noteForgotten(m, vcpu);
    if (fromL1) {
      const mapped: boolean = yield* nested_get_vmcs12_pages(m, vcpu);
      if (!mapped) {
        yield* vmx_switch_vmcs(m, vcpu, loadedVmcs.VMCS01);
        return nvmxVmentry.KVM_INTERNAL_ERROR as number;
      }
      const fit: boolean = yield* nested_vmx_check_controls_late(m, vcpu);
      if (!fit) {
        yield* vmx_switch_vmcs(m, vcpu, loadedVmcs.VMCS01);
        return nvmxVmentry.VMFAIL;
      }
      if (!nested_vmx_check_guest_state(m, vcpu)) {
        return yield* failEntry(m, vcpu);
      }
    }
    yield m.step('guest_mode = 1');
    target.guest_mode = true;
    enterL2Registers(m, vcpu);
    yield* prepare_vmcs02(m, vcpu);
    if (!fromL1 && m.on('get-pages-request-on-restore')) {
      yield m.step('make GET_NESTED_STATE_PAGES: no page of L1 is mapped yet');
      kvm_make_request(m, vcpu, KVM_REQ.GET_NESTED_STATE_PAGES);
    }
    if (!fromL1 && target.nested.posted_intr_nv !== -1 && m.on('migrate-pi-pending')) {
      // What was posted is in the memory of the guest, that it was notified is not.
      yield* notePending(m, vcpu);
    }
    const evaluate: boolean = yield* mustEvaluateEvents(m, vcpu);
    if (evaluate && m.on('event-on-nested-entry')) {
      yield m.step('make EVENT');
      kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    }
    yield* vmx_start_preemption_timer(m, vcpu);
    target.stat.nested_entries++;
    return nvmxVmentry.SUCCESS as number;
  },
);

/**
 * Why the instruction fails before anything is changed: an error number, 0 for none.
 * @omits host state
 */
const entryError = (m: Machine, vcpu: number, launch: boolean): number => {
  const { vmcs01, nested } = m.vcpu[vcpu]!;
  if ((vmcs01.guest_interruptibility & interruptibility.MOV_SS) !== 0) {
    return vmInstructionError.EVENTS_BLOCKED_BY_MOV_SS;
  }
  if ((nested.cached_vmcs12.launch_state === 0) !== launch) {
    return launch
      ? vmInstructionError.VMLAUNCH_NONCLEAR_VMCS
      : vmInstructionError.VMRESUME_NONLAUNCHED_VMCS;
  }
  return nested_vmx_check_controls(m, vcpu) ? 0 : vmInstructionError.INVALID_CONTROL_FIELD;
};

/** Does the event that L1 injects, or a window that it waits for, end the HLT of L2 at once? */
const isWokenAtOnce = (m: Machine, vcpu: number): boolean => {
  const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
  if (vmcs12.vm_entry_intr_info_field >= INTR_INFO_VALID) return true;
  if (primaryOn(vmcs12, cpuControl.NMI_WINDOW)) return true;
  return primaryOn(vmcs12, cpuControl.INTR_WINDOW) && m.vcpu[vcpu]!.guest.rflags_if;
};

/** L2 begins in an activity state of its own: halted, or waiting for its SIPI. */
function* enterActivity(m: Machine, vcpu: number): Body<number> {
  const { nested } = m.vcpu[vcpu]!;
  const { guest_activity_state: activity } = nested.cached_vmcs12;
  if (activity === activityState.HLT && !isWokenAtOnce(m, vcpu)) {
    yield m.step('nested_run_pending = 0: L2 halts inside KVM');
    nested.nested_run_pending = false;
    return yield* kvm_emulate_halt_noskip(m, vcpu);
  }
  if (activity !== activityState.WAIT_SIPI) return 1;
  yield m.step('nested_run_pending = 0; mp_state = INIT_RECEIVED');
  nested.nested_run_pending = false;
  kvm_set_mp_state(m, vcpu, mpState.INIT_RECEIVED);
  return 1;
}

/** A shadow VMCS holds no state of a guest: there is nowhere to put an error number either. */
const hasVmcs12 = (m: Machine, vcpu: number): boolean => {
  const { current_vmptr, cached_vmcs12 } = m.vcpu[vcpu]!.nested;
  const current = current_vmptr !== INVALID_GPA || nested_vmx_is_evmptr12_valid(m, vcpu);
  return current && cached_vmcs12.revision_id < SHADOW_VMCS;
};

/** VMLAUNCH (`launch`) or VMRESUME; 0 asks user space, which learns of an internal error. */
export const nested_vmx_run = kvm(
  file,
  function* nested_vmx_run(m: Machine, vcpu: number, program: Program, launch: boolean) {
    const { nested } = m.vcpu[vcpu]!;
    const found: number = yield* nested_vmx_handle_enlightened_vmptrld(m, vcpu, launch, false);
    if (found === evmptrld.ERROR) {
      m.vcpu[vcpu]!.guest.ud++;
      skipInstruction(m, program);
      return 1;
    }
    yield m.step('is there a current VMCS, and are its controls fit?');
    if (found === evmptrld.VMFAIL || !hasVmcs12(m, vcpu)) {
      nested_vmx_failInvalid(m, vcpu, program);
      return 1;
    }
    const error = entryError(m, vcpu, launch);
    if (error !== 0) {
      nested_vmx_fail(m, vcpu, program, error);
      return 1;
    }
    yield m.step('nested_run_pending = 1');
    nested.nested_run_pending = true;
    const actor = m.actor[vcpu]!;
    const { pc } = actor;
    // L1 goes on behind the instruction when L2 exits.
    skipInstruction(m, program);
    const status: number = yield* nested_vmx_enter_non_root_mode(m, vcpu, true);
    if (status === nvmxVmentry.SUCCESS) {
      yield* morphAtEntry(m, vcpu);
      return yield* enterActivity(m, vcpu);
    }
    nested.nested_run_pending = false;
    if (status === nvmxVmentry.VMEXIT) return 1;
    actor.pc = pc;
    if (status === nvmxVmentry.KVM_INTERNAL_ERROR) return 0;
    nested_vmx_fail(m, vcpu, program, vmInstructionError.INVALID_CONTROL_FIELD);
    return 1;
  },
);
