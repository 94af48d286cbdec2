/**
 * L2 as far as the APIC of L1 can tell: that it runs, what it holds back from vmcs01, and how
 * INIT and SIPI end it.
 */

import { apicEvent } from '../../state/lapic.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { mpState } from '../../state/vcpu.ts';
import { exitReason } from '../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_apic_update_hwapic_isr } from '../apicv.ts';
import { EBUSY } from '../errno.ts';
import { kvm_cpu_has_injectable_intr } from '../irq.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { kvm_apic_has_interrupt } from '../lapic/priority.ts';
import { kvm_set_mp_state } from '../mp_state.ts';
import { vmx_refresh_apicv_exec_ctrl, vmx_set_virtual_apic_mode } from './apicv.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/**
 * L1 gives the CPU to L2, which uses L1's APIC and nothing that is virtualized for it.
 * @omits vmcs02 and vmcs12, their checks and pages, and the failures
 */
export const nested_vmx_enter_non_root_mode = kvm(
  file,
  function* nested_vmx_enter_non_root_mode(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('guest_mode = 1');
    target.guest_mode = true;
    target.nested_pi_pending = false;
    yield m.step('INIT or SIPI pending?');
    const signalled = target.apic.pending_events.any();
    if (!signalled && (yield* kvm_apic_has_interrupt(m, vcpu)) === -1) return;
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  },
);

/** What was put off while vmcs01 was not loaded (`defer`; nothing of it in `k7.0`). */
function* catchUpVmcs01(m: Machine, vcpu: number): Body<void> {
  const target = m.vcpu[vcpu]!;
  if (target.nested_l1_tpr_threshold !== -1) {
    yield m.step('VMWRITE the TPR_THRESHOLD that was put off');
    target.vmcs01.tpr_threshold = target.nested_l1_tpr_threshold;
    target.nested_l1_tpr_threshold = -1;
  }
  if (target.nested_change_vmcs01_virtual_apic_mode) {
    target.nested_change_vmcs01_virtual_apic_mode = false;
    yield* vmx_set_virtual_apic_mode(m, vcpu);
  }
  if (target.nested_reload_vmcs01_apic_access_page) {
    target.nested_reload_vmcs01_apic_access_page = false;
    yield m.step('make APIC_PAGE_RELOAD');
    kvm_make_request(m, vcpu, KVM_REQ.APIC_PAGE_RELOAD);
  }
  if (target.nested_update_vmcs01_apicv_status) yield* catchUpApicv(m, vcpu);
  if (target.nested_update_vmcs01_hwapic_isr) {
    target.nested_update_vmcs01_hwapic_isr = false;
    yield m.step('SVI = the highest vector in service');
    kvm_apic_update_hwapic_isr(m, vcpu);
  }
}

function* catchUpApicv(m: Machine, vcpu: number): Body<void> {
  m.vcpu[vcpu]!.nested_update_vmcs01_apicv_status = false;
  if (m.switch('apicv-refresh-on-exit') === 'immediate') {
    yield* vmx_refresh_apicv_exec_ctrl(m, vcpu);
    return;
  }
  yield m.step('make APICV_UPDATE');
  kvm_make_request(m, vcpu, KVM_REQ.APICV_UPDATE);
}

/** What L1 reads of the exit in vmcs12. */
interface NestedExit {
  readonly reason: number;
  readonly qualification: number;
}

/** The exit that every L2 can make. */
const vmcall: NestedExit = { reason: exitReason.VMCALL, qualification: 0 };
const initSignal: NestedExit = { reason: exitReason.INIT_SIGNAL, qualification: 0 };
const sipiSignal = (vector: number): NestedExit => ({
  reason: exitReason.SIPI_SIGNAL,
  qualification: vector & 0xff,
});

/**
 * L2 ends: L1 goes on behind its VMLAUNCH or VMRESUME.
 * @omits vmcs02 and vmcs12 but for the reason, and the state of L1
 */
export const __nested_vmx_vmexit = kvm(
  file,
  function* __nested_vmx_vmexit(
    m: Machine,
    vcpu: number,
    { reason, qualification }: NestedExit = vmcall,
  ) {
    const target = m.vcpu[vcpu]!;
    yield m.step('guest_mode = 0');
    target.guest_mode = false;
    if (target.load_eoi_exitmap_pending) {
      target.load_eoi_exitmap_pending = false;
      yield m.step('make LOAD_EOI_EXITMAP');
      kvm_make_request(m, vcpu, KVM_REQ.LOAD_EOI_EXITMAP);
    }
    yield m.step('vmcs12: reason {reason}', reason);
    target.nested_exit_reason = reason;
    target.nested_exit_qualification = qualification;
    yield* catchUpVmcs01(m, vcpu);
    yield m.step('mp_state = RUNNABLE');
    kvm_set_mp_state(m, vcpu, mpState.RUNNABLE);
    const pending: boolean =
      target.nmi_pending > 0 || (yield* kvm_cpu_has_injectable_intr(m, vcpu));
    if (!pending) return;
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  },
);

function* takeInit(m: Machine, vcpu: number): Body<number> {
  const { apic, mp_state } = m.vcpu[vcpu]!;
  yield m.step('clear INIT');
  apic.pending_events.clear(apicEvent.INIT);
  if (mp_state !== mpState.INIT_RECEIVED) {
    yield* __nested_vmx_vmexit(m, vcpu, initSignal);
  }
  return 0;
}

/**
 * Events that end L2, the first of them in the order of their priority.
 * @omits exceptions, MTF, the preemption timer, SMI, NMI and interrupts: L1 lets L2 have them
 */
export const vmx_check_nested_events = kvm(
  file,
  function* vmx_check_nested_events(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    const { apic, interrupt } = target;
    const blocked = target.nested_run_pending || target.nmi_injected || interrupt.injected;
    yield m.step('is INIT or SIPI pending?');
    if (apic.pending_events.has(apicEvent.INIT)) {
      return blocked ? -EBUSY : yield* takeInit(m, vcpu);
    }
    if (!apic.pending_events.has(apicEvent.SIPI)) return 0;
    if (blocked) return -EBUSY;
    yield m.step('clear SIPI');
    apic.pending_events.clear(apicEvent.SIPI);
    if (target.mp_state === mpState.INIT_RECEIVED) {
      yield* __nested_vmx_vmexit(m, vcpu, sipiSignal(apic.sipi_vector));
    }
    return 0;
  },
);
