/** INIT and SIPI: what becomes of them once they have reached the APIC. */
import { apicEvent } from '../../state/lapic.ts';
import { POSTED_INTR_VECTOR } from '../../state/pi_desc.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { mpState } from '../../state/vcpu.ts';
import { activityState } from '../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { EBUSY } from '../errno.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { kvm_apic_init_sipi_allowed, kvm_set_mp_state } from '../mp_state.ts';
import { vmx_check_nested_events } from '../vmx/nested/events.ts';
import { vmx_leave_nested } from '../vmx/nested/state.ts';
import { vmx_flush_tlb_guest } from '../vmx/vmx.ts';
import { kvm_lapic_reset } from './reset.ts';
import { kvm_lapic_set_tpr } from './tpr.ts';

const file = 'arch/x86/kvm/lapic.c';

/** Where the boot processor begins, and an application processor before its SIPI. */
const RESET_CS_BASE = 0xffff_0000;
const PAGE_SHIFT = 12;

const clearEventQueues = (m: Machine, vcpu: number): void => {
  const target = m.vcpu[vcpu]!;
  target.smi_pending = false;
  target.in_smm = false;
  target.smm_inside_nmi_mask = false;
  target.nmi_queued = 0;
  target.nmi_pending = 0;
  target.nmi_injected = false;
  target.interrupt.injected = false;
  target.exception_pending = false;
};

/** The VMCS and the descriptor. @kvm arch/x86/kvm/vmx/vmx.c: vmx_vcpu_reset */
function* resetVmx(m: Machine, vcpu: number, init: boolean): Body<void> {
  const { vmcs01, guest, pi_desc } = m.vcpu[vcpu]!;
  if (!init) {
    yield m.step('the descriptor: NV is the notification vector, SN is set');
    pi_desc.nv = POSTED_INTR_VECTOR;
    pi_desc.sn = true;
  }
  yield m.step('VMWRITE the state of the guest');
  vmcs01.vm_entry_intr_info = 0;
  vmcs01.guest_interruptibility = 0;
  vmcs01.guest_activity_state = activityState.ACTIVE;
  guest.rflags_if = false;
  guest.cs_base = RESET_CS_BASE;
  guest.in_service_program = 0;
  m.actor[vcpu]!.pc = 0;
  yield* kvm_lapic_set_tpr(m, vcpu, 0);
  yield m.step('make APIC_PAGE_RELOAD');
  kvm_make_request(m, vcpu, KVM_REQ.APIC_PAGE_RELOAD);
  yield m.step('flush what is tagged with the VPID of L1');
  vmx_flush_tlb_guest(m, vcpu);
}

/** RESET, or with `init` INIT. @omits registers other than those of interrupts */
export const kvm_vcpu_reset = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_vcpu_reset(m: Machine, vcpu: number, init: boolean) {
    // An INIT that came behind the look at the events of L2.
    if (m.vcpu[vcpu]!.guest_mode) yield* vmx_leave_nested(m, vcpu);
    yield* kvm_lapic_reset(m, vcpu, init);
    yield m.step('no event is queued any more');
    clearEventQueues(m, vcpu);
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    yield* resetVmx(m, vcpu, init);
    if (!init) return;
    yield m.step('make TLB_FLUSH_GUEST');
    kvm_make_request(m, vcpu, KVM_REQ.TLB_FLUSH_GUEST);
  },
);

function* acceptInit(m: Machine, vcpu: number): Body<void> {
  const { vcpu_id } = m.vcpu[vcpu]!;
  yield* kvm_vcpu_reset(m, vcpu, true);
  const bsp = vcpu_id === m.vm.bsp_vcpu_id;
  yield m.step('mp_state = RUNNABLE, of an application processor INIT_RECEIVED');
  kvm_set_mp_state(m, vcpu, bsp ? mpState.RUNNABLE : mpState.INIT_RECEIVED);
}

/** @kvm arch/x86/kvm/x86.c */
const kvm_vcpu_deliver_sipi_vector = (m: Machine, vcpu: number, vector: number): void => {
  m.vcpu[vcpu]!.guest.cs_base = vector << PAGE_SHIFT;
  kvm_set_mp_state(m, vcpu, mpState.RUNNABLE);
};

function* takeSipiVector(m: Machine, vcpu: number): Body<number> {
  yield m.step('read the vector of the SIPI');
  return m.vcpu[vcpu]!.apic.sipi_vector;
}

/** Only the vCPU's own thread may set its events going; says nothing of what remains pending. */
function* accept(m: Machine, vcpu: number): Body<void> {
  const target = m.vcpu[vcpu]!;
  const { pending_events } = target.apic;
  if (pending_events.has(apicEvent.INIT)) {
    yield m.step('clear INIT');
    pending_events.clear(apicEvent.INIT);
    yield* acceptInit(m, vcpu);
  }
  // The sender stores the vector before the bit: whoever sees the bit and then reads has it.
  const ordered = m.on('sipi-vector-barrier');
  const early = ordered ? 0 : yield* takeSipiVector(m, vcpu);
  yield m.step('is SIPI pending? clear it');
  if (!pending_events.clear(apicEvent.SIPI)) return;
  // Whoever does not wait for a SIPI does not see it.
  if (target.mp_state !== mpState.INIT_RECEIVED) return;
  const vector = ordered ? yield* takeSipiVector(m, vcpu) : early;
  yield m.step('start at {vector} × 4096', vector);
  kvm_vcpu_deliver_sipi_vector(m, vcpu, vector);
}

/**
 * Takes INIT and SIPI that have arrived. While they are blocked INIT stays pending and SIPI is
 * lost. 0, or the error of an exit from L2.
 */
export const kvm_apic_accept_events = kvm(
  file,
  function* kvm_apic_accept_events(m: Machine, vcpu: number) {
    const { apic, guest_mode } = m.vcpu[vcpu]!;
    yield m.step('is INIT or SIPI pending?');
    if (!apic.pending_events.any()) return 0;
    if (guest_mode) {
      const result: number = yield* vmx_check_nested_events(m, vcpu);
      if (result < 0) return result === -EBUSY ? 0 : result;
      // L1 may run now: what is blocked there is seen below.
    }
    if (kvm_apic_init_sipi_allowed(m, vcpu)) {
      yield* accept(m, vcpu);
    } else {
      yield m.step('blocked: INIT stays, SIPI is dropped');
      apic.pending_events.clear(apicEvent.SIPI);
    }
    return 0;
  },
);
