/** From L2 to L1: what vmcs12 tells L1, and what vmcs01 catches up with. */

import { secondaryOn } from '../../../hw/vmcs.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { loadedVmcs, mpState } from '../../../state/vcpu.ts';
import {
  activityState,
  eventType,
  exitReason,
  INTR_INFO_VALID,
  secondaryControl,
  vmInstructionError,
} from '../../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { kvm_apic_update_hwapic_isr } from '../../apicv.ts';
import { kvm_check_request } from '../../check_request.ts';
import { kvm_cpu_has_injectable_intr } from '../../irq.ts';
import { kvm_make_request } from '../../kvm_main.ts';
import { kvm_set_mp_state } from '../../mp_state.ts';
import { kvm_service_local_tlb_flush_requests } from '../../tlb_flush.ts';
import { vmx_refresh_apicv_exec_ctrl, vmx_set_virtual_apic_mode } from '../apicv.ts';
import { nested_get_evmcs_page, nested_vmx_is_evmptr12_valid } from './evmcs.ts';
import { enterL1Registers, restoreL1Registers, saveL2Registers } from './guest_state.ts';
import { endUseOfPages } from './pages.ts';
import { noteUntaken, redeliverNotification } from './posted.ts';
import { stopPreemptionTimer } from './preemption_timer.ts';
import { vmx_switch_vmcs } from './run.ts';
import { failValid } from './vmfail.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** What L1 reads of the exit in vmcs12. */
export interface NestedExit {
  readonly reason: number;
  readonly qualification: number;
  /** VM_EXIT_INTR_INFO */
  readonly interrupt: number;
  /** does the exit come with the instruction that L2 stands at? L1 may skip it then */
  readonly instruction: number;
}

/** L2 is left without an exit to L1: nothing of it is told in vmcs12. */
export const NO_EXIT = -1;

/** Bit 31 of the exit reason: the entry has failed, so that L2 was not launched. */
const FAILED_VMENTRY = 0x8000_0000;

export const exitTo = (reason: number, more: Partial<NestedExit> = {}): NestedExit => ({
  reason,
  qualification: 0,
  interrupt: 0,
  instruction: 0,
  ...more,
});

/**
 * An event that was on its way into L2: L1 learns of it.
 * @kvm nested.c: vmcs12_save_pending_event
 */
const pendingEvent = (m: Machine, vcpu: number): number => {
  const { nmi_injected, interrupt } = m.vcpu[vcpu]!;
  if (nmi_injected) return INTR_INFO_VALID + (eventType.NMI << 8) + 2;
  if (!interrupt.injected) return 0;
  const type = interrupt.soft ? eventType.SOFT_INTERRUPT : eventType.EXTERNAL_INTERRUPT;
  return INTR_INFO_VALID + (type << 8) + interrupt.nr;
};

/** What L2 does where its vCPU does not run. */
const activities: Readonly<Record<number, number>> = {
  [mpState.HALTED]: activityState.HLT,
  [mpState.INIT_RECEIVED]: activityState.WAIT_SIPI,
};

/** Guest state of L2. @kvm nested.c: sync_vmcs02_to_vmcs12 */
const syncGuestState = (m: Machine, vcpu: number): void => {
  const { vmcs02, nested, mp_state } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  saveL2Registers(m, vcpu);
  vmcs12.guest_interruptibility_info = vmcs02.guest_interruptibility;
  vmcs12.guest_activity_state = activities[mp_state] ?? activityState.ACTIVE;
  if (secondaryOn(vmcs12, secondaryControl.VIRTUAL_INTR_DELIVERY)) {
    vmcs12.guest_intr_status = vmcs02.guest_intr_status;
  }
};

/** Also for KVM_GET_NESTED_STATE, while L2 goes on. */
export const sync_vmcs02_to_vmcs12 = kvm(
  file,
  function* sync_vmcs02_to_vmcs12(m: Machine, vcpu: number) {
    yield m.step('copy what L2 has become from vmcs02 to vmcs12');
    syncGuestState(m, vcpu);
  },
);

const prepare_vmcs12 = kvm(
  file,
  function* prepare_vmcs12(m: Machine, vcpu: number, exit: NestedExit) {
    const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
    yield m.step('vmcs12: exit reason {reason}', exit.reason);
    vmcs12.vm_exit_reason = exit.reason;
    vmcs12.exit_qualification = exit.qualification;
    if (exit.reason >= FAILED_VMENTRY) return;
    vmcs12.launch_state = 1;
    vmcs12.vm_exit_intr_info = exit.interrupt;
    vmcs12.vm_exit_instruction_len = exit.instruction;
    vmcs12.idt_vectoring_info_field = pendingEvent(m, vcpu);
    vmcs12.vm_entry_intr_info_field %= INTR_INFO_VALID;
  },
);

const clearQueuedEvents = (m: Machine, vcpu: number): void => {
  const target = m.vcpu[vcpu]!;
  if (target.nmi_injected) target.nmi_injected = false;
  if (target.interrupt.injected) target.interrupt.injected = false;
};

/** What was put off while vmcs01 was not loaded (`defer`; nothing of it in `k7.0`). */
function* catchUpVmcs01(m: Machine, vcpu: number): Body<void> {
  const target = m.vcpu[vcpu]!;
  const { nested } = target;
  if (nested.l1_tpr_threshold !== -1) {
    yield m.step('VMWRITE the TPR_THRESHOLD that was put off');
    target.vmcs01.tpr_threshold = nested.l1_tpr_threshold;
    nested.l1_tpr_threshold = -1;
  }
  if (nested.change_vmcs01_virtual_apic_mode) {
    nested.change_vmcs01_virtual_apic_mode = false;
    yield* vmx_set_virtual_apic_mode(m, vcpu);
  }
}

/** The same, behind the pages. */
function* catchUpApic(m: Machine, vcpu: number): Body<void> {
  const { nested } = m.vcpu[vcpu]!;
  if (nested.reload_vmcs01_apic_access_page) {
    yield m.step('make APIC_PAGE_RELOAD');
    nested.reload_vmcs01_apic_access_page = false;
    kvm_make_request(m, vcpu, KVM_REQ.APIC_PAGE_RELOAD);
  }
  if (nested.update_vmcs01_apicv_status) {
    nested.update_vmcs01_apicv_status = false;
    if (m.switch('apicv-refresh-on-exit') === 'immediate') {
      yield* vmx_refresh_apicv_exec_ctrl(m, vcpu);
    } else {
      yield m.step('make APICV_UPDATE');
      kvm_make_request(m, vcpu, KVM_REQ.APICV_UPDATE);
    }
  }
  if (nested.update_vmcs01_hwapic_isr) {
    nested.update_vmcs01_hwapic_isr = false;
    yield m.step('SVI = the highest vector in service');
    kvm_apic_update_hwapic_isr(m, vcpu);
  }
}

/** guest_mode ends: senders see L1 from here on. @kvm arch/x86/kvm/kvm_cache_regs.h */
function* leave_guest_mode(m: Machine, vcpu: number, reason: number): Body<void> {
  const target = m.vcpu[vcpu]!;
  yield m.step('guest_mode = 0');
  target.guest_mode = false;
  if (reason !== NO_EXIT) noteUntaken(m, vcpu);
  if (!target.load_eoi_exitmap_pending) return;
  target.load_eoi_exitmap_pending = false;
  yield m.step('make LOAD_EOI_EXITMAP');
  kvm_make_request(m, vcpu, KVM_REQ.LOAD_EOI_EXITMAP);
}

/** The CPU has refused the entry: to L1 its instruction has failed, and L2 never was. */
function* failInstruction(m: Machine, vcpu: number): Body<void> {
  yield m.step('restore L1; its instruction fails: invalid control fields');
  restoreL1Registers(m, vcpu);
  failValid(m, vcpu, vmInstructionError.INVALID_CONTROL_FIELD);
}

/** L1 finds its exit; events that came while L2 ran are looked at. */
function* resumeL1(m: Machine, vcpu: number): Body<void> {
  const target = m.vcpu[vcpu]!;
  yield m.step('load the host state of L1');
  enterL1Registers(m, vcpu);
  yield* redeliverNotification(m, vcpu);
  target.stat.nested_exits++;
  const pending: boolean = target.nmi_pending > 0 || (yield* kvm_cpu_has_injectable_intr(m, vcpu));
  if (!pending || !m.on('event-on-nested-exit')) return;
  yield m.step('make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
}

/** What L2 has become, and why it ends; nothing of it where it was not entered. */
function* tellL1(m: Machine, vcpu: number, exit: NestedExit): Body<void> {
  if (exit.reason === exitReason.VMFAIL) return;
  yield* sync_vmcs02_to_vmcs12(m, vcpu);
  if (exit.reason !== NO_EXIT) yield* prepare_vmcs12(m, vcpu, exit);
}

/**
 * L2 ends: L1 goes on behind its VMLAUNCH or VMRESUME. With the reason VMFAIL L2 was not entered.
 * @omits PDPTRs, the page-modification log, TSC and the state of L1 that has no part in its APIC
 */
export const __nested_vmx_vmexit = kvm(
  file,
  function* __nested_vmx_vmexit(
    m: Machine,
    vcpu: number,
    exit: NestedExit = exitTo(exitReason.VMCALL, { instruction: 1 }),
  ) {
    const target = m.vcpu[vcpu]!;
    const { nested } = target;
    nested.mtf_pending = false;
    if (nested.nested_run_pending) target.spec.exits_while_run_pending++;
    // Nobody maps pages for L1 now; an enlightened VMCS is needed to tell L1 of the exit.
    if (yield* kvm_check_request(m, vcpu, KVM_REQ.GET_NESTED_STATE_PAGES)) {
      yield* nested_get_evmcs_page(m, vcpu);
    }
    yield* kvm_service_local_tlb_flush_requests(m, vcpu);
    yield* leave_guest_mode(m, vcpu, exit.reason);
    yield* stopPreemptionTimer(m, vcpu);
    yield* tellL1(m, vcpu, exit);
    clearQueuedEvents(m, vcpu);
    yield* vmx_switch_vmcs(m, vcpu, loadedVmcs.VMCS01);
    yield* catchUpVmcs01(m, vcpu);
    yield* endUseOfPages(m, vcpu);
    yield* catchUpApic(m, vcpu);
    if (exit.reason !== NO_EXIT && nested_vmx_is_evmptr12_valid(m, vcpu)) {
      nested.need_vmcs12_to_shadow_sync = true;
    }
    yield m.step('mp_state = RUNNABLE');
    kvm_set_mp_state(m, vcpu, mpState.RUNNABLE);
    if (exit.reason === exitReason.VMFAIL) yield* failInstruction(m, vcpu);
    else yield* resumeL1(m, vcpu);
  },
);
