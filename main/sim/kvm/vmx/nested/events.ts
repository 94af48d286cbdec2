/** Events while L2 runs: which of them end it, which wait, and which L2 may have. */
import { apicEvent } from '../../../state/lapic.ts';
import { mpState } from '../../../state/vcpu.ts';
import { eventType, exitReason, INTR_INFO_VALID } from '../../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { EBUSY } from '../../errno.ts';
import { kvm_cpu_get_extint, kvm_cpu_has_extint, kvm_cpu_has_interrupt } from '../../irq.ts';
import {
  apic_clear_irr,
  kvm_apic_ack_interrupt,
  kvm_apic_has_interrupt,
} from '../../lapic/priority.ts';
import {
  kvm_event_needs_reinjection,
  nested_exit_intr_ack_set,
  nested_exit_on_intr,
  nested_exit_on_nmi,
  vmx_interrupt_blocked,
  vmx_nmi_blocked,
  vmx_set_nmi_mask,
} from '../blocked.ts';
import { vmx_complete_nested_posted_interrupt } from './posted.ts';
import { nested_vmx_preemption_timer_pending } from './preemption_timer.ts';
import { __nested_vmx_vmexit, exitTo } from './vmexit.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

const NMI_VECTOR = 2;
const nmiInfo = INTR_INFO_VALID + (eventType.NMI << 8) + NMI_VECTOR;

/**
 * What holds events back. A pending entry: KVM gets control back behind it. A delivery that was
 * broken off: the instruction is not over, so that nothing new can be recognized.
 */
const blockedBy = { ENTRY: 1, REINJECTION: 2 } as const;

/** What a look at one kind of event says, besides 0 (L2 has ended, or all is done) and −EBUSY. */
const NEXT = 1;
const STAYS_IN_L2 = 2;

const blocksOf = (m: Machine, vcpu: number): number => {
  const entry = m.vcpu[vcpu]!.nested.nested_run_pending && m.on('nested-run-pending-block');
  const again = kvm_event_needs_reinjection(m, vcpu);
  return (entry ? blockedBy.ENTRY : 0) | (again ? blockedBy.REINJECTION : 0);
};

/** INIT ends L2; a vCPU that waits for its SIPI takes no notice. */
function* checkInit(m: Machine, vcpu: number, blocks: number): Body<number> {
  const { apic, mp_state, nested } = m.vcpu[vcpu]!;
  yield m.step('is INIT or SIPI pending?');
  if (!apic.pending_events.has(apicEvent.INIT)) return NEXT;
  if (blocks !== 0) return -EBUSY;
  yield m.step('clear INIT');
  apic.pending_events.clear(apicEvent.INIT);
  if (mp_state !== mpState.INIT_RECEIVED) {
    yield* __nested_vmx_vmexit(m, vcpu, exitTo(exitReason.INIT_SIGNAL));
  }
  if (nested.mtf_pending) nested.mtf_pending = false;
  return 0;
}

/** SIPI ends an L2 that waits for it, and is lost for any other. */
function* checkSipi(m: Machine, vcpu: number, blocks: number): Body<number> {
  const { apic, mp_state } = m.vcpu[vcpu]!;
  if (!apic.pending_events.has(apicEvent.SIPI)) return NEXT;
  if (blocks !== 0) return -EBUSY;
  yield m.step('clear SIPI');
  apic.pending_events.clear(apicEvent.SIPI);
  if (mp_state !== mpState.INIT_RECEIVED) return NEXT;
  const qualification = apic.sipi_vector & 0xff;
  yield* __nested_vmx_vmexit(m, vcpu, exitTo(exitReason.SIPI_SIGNAL, { qualification }));
  return 0;
}

/** What comes with the instruction that L2 has just executed, and its preemption timer. */
function* checkTraps(m: Machine, vcpu: number, blocks: number): Body<number> {
  const { exception_pending, nested } = m.vcpu[vcpu]!;
  yield m.step('an exception, MTF, the preemption timer?');
  // It may come from the delivery of the event that was broken off, so that need not come first.
  if (exception_pending) return (blocks & blockedBy.ENTRY) !== 0 ? -EBUSY : STAYS_IN_L2;
  const timer = nested_vmx_preemption_timer_pending(m, vcpu);
  if (!nested.mtf_pending && !timer) return NEXT;
  if (blocks !== 0) return -EBUSY;
  const reason = nested.mtf_pending ? exitReason.MONITOR_TRAP_FLAG : exitReason.PREEMPTION_TIMER;
  yield* __nested_vmx_vmexit(m, vcpu, exitTo(reason));
  return 0;
}

/** An SMI enters SMM from L2; an NMI ends L2 if L1 wants that, which counts as its injection. */
function* checkSmiAndNmi(m: Machine, vcpu: number, blocks: number): Body<number> {
  const target = m.vcpu[vcpu]!;
  yield m.step('an SMI, an NMI?');
  if (target.smi_pending && !target.in_smm) return blocks !== 0 ? -EBUSY : STAYS_IN_L2;
  if (target.nmi_pending === 0 || vmx_nmi_blocked(m, vcpu)) return NEXT;
  if (blocks !== 0) return -EBUSY;
  if (!nested_exit_on_nmi(m, vcpu)) return STAYS_IN_L2;
  yield* __nested_vmx_vmexit(m, vcpu, exitTo(exitReason.EXCEPTION_NMI, { interrupt: nmiInfo }));
  yield m.step('the NMI is taken, and masks the next');
  target.nmi_pending = 0;
  vmx_set_nmi_mask(m, vcpu, true);
  return 0;
}

/** L2 ends for an interrupt that L1 finds acknowledged. */
function* exitWith(m: Machine, vcpu: number, vector: number): Body<number> {
  const interrupt = INTR_INFO_VALID + vector;
  yield* __nested_vmx_vmexit(m, vcpu, exitTo(exitReason.EXTERNAL_INTERRUPT, { interrupt }));
  return 0;
}

/** An ExtINT that L1 finds acknowledged. It is taken before it is clear that it can go anywhere. */
function* checkExtint(m: Machine, vcpu: number, blocks: number): Body<number> {
  if (m.on('extint-peek-first') && blocks !== 0) {
    yield m.step('an ExtINT stays where it is');
    if (kvm_cpu_has_extint(m, vcpu)) return -EBUSY;
  }
  const vector: number = yield* kvm_cpu_get_extint(m, vcpu);
  if (vector === -1) return NEXT;
  const { spec } = m.vcpu[vcpu]!;
  if (blocks !== 0) {
    spec.extints_lost++;
    return -EBUSY;
  }
  spec.extints--;
  return yield* exitWith(m, vcpu, vector);
}

/** An interrupt of the APIC of L1 that L1 finds acknowledged. */
function* checkApic(m: Machine, vcpu: number, blocks: number): Body<number> {
  const { nested } = m.vcpu[vcpu]!;
  const irq: number = yield* kvm_apic_has_interrupt(m, vcpu);
  if (irq === -1) return STAYS_IN_L2;
  if (irq === nested.posted_intr_nv && m.switch('nv-irq-morph') === 'at-exit-injection') {
    // The CPU delivers what was posted: an entry that is pending may go on.
    if ((blocks & blockedBy.REINJECTION) !== 0) return -EBUSY;
    yield m.step('vector {vector} is the notification of L2: pi_pending = true', irq);
    nested.pi_pending = true;
    m.vcpu[vcpu]!.spec.nested_notified = true;
    yield* apic_clear_irr(m, vcpu, irq);
    return STAYS_IN_L2;
  }
  if (blocks !== 0) return -EBUSY;
  // A CPU would have looked into the descriptor of L2 instead.
  if (irq === nested.posted_intr_nv) m.vcpu[vcpu]!.spec.nested_notified = true;
  // In service it is for L1: SVI is that of vmcs01, which is loaded by the exit.
  const late = m.on('ack-after-vmcs01');
  if (!late) yield* kvm_apic_ack_interrupt(m, vcpu, irq);
  yield* exitWith(m, vcpu, irq);
  if (late) yield* kvm_apic_ack_interrupt(m, vcpu, irq);
  return 0;
}

function* checkInterrupt(m: Machine, vcpu: number, blocks: number): Body<number> {
  const found: boolean = yield* kvm_cpu_has_interrupt(m, vcpu);
  if (!found || vmx_interrupt_blocked(m, vcpu)) return STAYS_IN_L2;
  if (!nested_exit_on_intr(m, vcpu)) return blocks !== 0 ? -EBUSY : STAYS_IN_L2;
  if (!nested_exit_intr_ack_set(m, vcpu)) {
    if (blocks !== 0) return -EBUSY;
    yield* __nested_vmx_vmexit(m, vcpu, exitTo(exitReason.EXTERNAL_INTERRUPT));
    return 0;
  }
  const external: number = yield* checkExtint(m, vcpu, blocks);
  return external === NEXT ? yield* checkApic(m, vcpu, blocks) : external;
}

/** In the order of their priority. */
const checks = [checkInit, checkSipi, checkTraps, checkSmiAndNmi, checkInterrupt] as const;

/**
 * Events that end L2, the first of them in the order of their priority. Without one, what a
 * notification has posted for L2 becomes requested. 0, −EBUSY if L2 has to be entered first, or an
 * error.
 * @omits triple faults, debug traps, and exceptions that L1 intercepts
 */
export const vmx_check_nested_events = kvm(
  file,
  function* vmx_check_nested_events(m: Machine, vcpu: number) {
    const blocks = blocksOf(m, vcpu);
    for (const check of checks) {
      const result: number = yield* check(m, vcpu, blocks);
      if (result <= 0) return result;
      if (result === STAYS_IN_L2) break;
    }
    return yield* vmx_complete_nested_posted_interrupt(m, vcpu);
  },
);
