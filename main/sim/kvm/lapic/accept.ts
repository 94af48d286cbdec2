/** An interrupt reaches a local APIC, over the bus or from one of its own sources. */
import {
  APIC_DM_EXTINT,
  APIC_DM_FIXED,
  APIC_DM_INIT,
  APIC_DM_LOWEST,
  APIC_DM_NMI,
  APIC_DM_REMRD,
  APIC_DM_SMI,
  APIC_DM_STARTUP,
  APIC_LVT_LEVEL_TRIGGER,
  APIC_LVT_MASKED,
  APIC_LVTPC,
  APIC_MODE_MASK,
  APIC_VECTOR_MASK,
} from '../../state/apicdef.ts';
import { apicEvent } from '../../state/lapic.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { type Body, kvm, type Machine, type Steps } from '../../steps.ts';
import { kvm_make_request, kvm_vcpu_kick } from '../kvm_main.ts';
import { vt_deliver_interrupt } from '../tdx.ts';
import type { KvmLapicIrq } from './destination.ts';
import { kvm_lapic_get_reg, kvm_lapic_set_reg } from './page.ts';
import { apic_enabled, kvm_apic_hw_enabled } from './priority.ts';

const file = 'arch/x86/kvm/lapic.c';

const DROPPED = 0;
const ACCEPTED = 1;

/** What a delivery mode does at the target; it runs on the sender. */
type Accept = (
  m: Machine,
  vcpu: number,
  vector: number,
  level: boolean,
  trigMode: boolean,
  rtc: boolean,
) => Body<number>;

function* eventAndKick(m: Machine, vcpu: number): Body<number> {
  yield m.step('make EVENT');
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  yield* kvm_vcpu_kick(m, vcpu);
  return ACCEPTED;
}

function* acceptFixed(
  m: Machine,
  vcpu: number,
  vector: number,
  level: boolean,
  trigMode: boolean,
  rtc: boolean,
): Body<number> {
  const { apic, spec } = m.vcpu[vcpu]!;
  if (trigMode && !level) return DROPPED;
  yield m.step('is the APIC enabled?');
  if (!apic_enabled(m, vcpu)) return DROPPED;
  if (rtc) {
    yield m.step('note that the vCPU has to EOI RTC vector {vector}', vector);
    m.vm.ioapic.rtc_dest.set(vcpu);
    m.vm.ioapic.rtc_vector[vcpu]!.vector = vector;
  }
  // Before IRR: an EOI that finds the vector in service finds its trigger mode, too.
  yield m.step('TMR: is the vector level-triggered? {level}', trigMode ? 1 : 0);
  if (apic.tmr.has(vector) !== trigMode) {
    if (trigMode) apic.tmr.set(vector);
    else apic.tmr.clear(vector);
  }
  const sent = spec.kick[m.current]!;
  if (sent.level !== trigMode) sent.level = trigMode;
  yield* vt_deliver_interrupt(m, vcpu, vector);
  return ACCEPTED;
}

function* acceptLowest(
  m: Machine,
  vcpu: number,
  vector: number,
  level: boolean,
  trigMode: boolean,
  rtc: boolean,
): Body<number> {
  yield m.step('apic_arb_prio++');
  m.vcpu[vcpu]!.apic_arb_prio++;
  return yield* acceptFixed(m, vcpu, vector, level, trigMode, rtc);
}

function* acceptRemoteRead(m: Machine, vcpu: number): Body<number> {
  yield m.step('pv_unhalted = true');
  m.vcpu[vcpu]!.pv_unhalted = true;
  return yield* eventAndKick(m, vcpu);
}

function* acceptSmi(m: Machine, vcpu: number): Body<number> {
  yield m.step('make SMI');
  kvm_make_request(m, vcpu, KVM_REQ.SMI);
  yield* kvm_vcpu_kick(m, vcpu);
  return ACCEPTED;
}

/** Queues an NMI; the vCPU takes it when it can. */
const kvm_inject_nmi = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_inject_nmi(m: Machine, vcpu: number) {
    yield m.step('nmi_queued++');
    m.vcpu[vcpu]!.nmi_queued++;
    yield m.step('make NMI');
    kvm_make_request(m, vcpu, KVM_REQ.NMI);
  },
);

function* acceptNmi(m: Machine, vcpu: number): Body<number> {
  yield* kvm_inject_nmi(m, vcpu);
  yield* kvm_vcpu_kick(m, vcpu);
  return ACCEPTED;
}

function* acceptInit(
  m: Machine,
  vcpu: number,
  _: number,
  level: boolean,
  trigMode: boolean,
): Body<number> {
  const { apic, spec } = m.vcpu[vcpu]!;
  const { pending_events } = apic;
  // A level de-assert synchronises arbitration IDs, which nobody has any more.
  if (trigMode && !level) return DROPPED;
  if (m.on('init-overwrites-pending')) {
    yield m.step('pending_events = INIT, and nothing else');
    pending_events.setWord(0, 1 << apicEvent.INIT);
  } else {
    yield m.step('add INIT to pending_events');
    pending_events.set(apicEvent.INIT);
  }
  if (pending_events.has(apicEvent.SIPI)) spec.sipis_after_init++;
  return yield* eventAndKick(m, vcpu);
}

function* storeSipiVector(m: Machine, vcpu: number, vector: number): Body<void> {
  yield m.step('sipi_vector = {vector}', vector);
  m.vcpu[vcpu]!.apic.sipi_vector = vector;
}

function* acceptStartup(m: Machine, vcpu: number, vector: number): Body<number> {
  const { apic, spec } = m.vcpu[vcpu]!;
  // The write barrier between the two pairs with the read barrier in kvm_apic_accept_events. On x86
  // both are for the compiler alone, which without them may exchange the steps.
  const vectorFirst = m.on('sipi-vector-barrier');
  if (vectorFirst) {
    yield* storeSipiVector(m, vcpu, vector);
    spec.sipi_stored++;
  }
  yield m.step('add SIPI to pending_events');
  m.drainStores();
  apic.pending_events.set(apicEvent.SIPI);
  spec.sipi_vector = vector;
  if (vectorFirst) spec.sipi_stored--;
  if (!vectorFirst) yield* storeSipiVector(m, vcpu, vector);
  return yield* eventAndKick(m, vcpu);
}

/** LINT0 in ExtINT mode asks the PIC when the vCPU looks for interrupts, not here. */
function* acceptNothing(): Body<number> {
  return DROPPED;
}

const accepts: Readonly<Record<number, Accept>> = {
  [APIC_DM_FIXED]: acceptFixed,
  [APIC_DM_LOWEST]: acceptLowest,
  [APIC_DM_SMI]: acceptSmi,
  [APIC_DM_REMRD]: acceptRemoteRead,
  [APIC_DM_NMI]: acceptNmi,
  [APIC_DM_INIT]: acceptInit,
  [APIC_DM_STARTUP]: acceptStartup,
  [APIC_DM_EXTINT]: acceptNothing,
};

/** 1 if the APIC took the interrupt, 0 if it dropped it; `rtc`: its EOI is tracked. */
export const __apic_accept_irq = kvm(
  file,
  function* __apic_accept_irq(
    m: Machine,
    vcpu: number,
    deliveryMode: number,
    vector: number,
    level: boolean,
    trigMode: boolean,
    rtc?: boolean,
  ) {
    const tracked = rtc === true;
    const accept = accepts[deliveryMode]!;
    const result: number = yield* accept(m, vcpu, vector, level, trigMode, tracked);
    return result;
  },
);

/** @kvm arch/x86/kvm/lapic.c */
export const kvm_apic_set_irq = (
  m: Machine,
  vcpu: number,
  { delivery_mode, vector, level, trig_mode }: KvmLapicIrq,
  rtc: boolean,
): Steps<number> => __apic_accept_irq(m, vcpu, delivery_mode, vector, level, trig_mode, rtc);

/** A source of the APIC's own fires, through its entry in the local vector table. */
export const kvm_apic_local_deliver = kvm(
  file,
  function* kvm_apic_local_deliver(m: Machine, vcpu: number, offset: number) {
    yield m.step('read the LVT entry at {offset}', offset);
    const entry = kvm_lapic_get_reg(m, vcpu, offset);
    if (!kvm_apic_hw_enabled(m, vcpu) || (entry & APIC_LVT_MASKED) !== 0) return DROPPED;
    const vector = entry & APIC_VECTOR_MASK;
    const trigMode = (entry & APIC_LVT_LEVEL_TRIGGER) !== 0;
    const mode = entry & APIC_MODE_MASK;
    const result: number = yield* __apic_accept_irq(m, vcpu, mode, vector, true, trigMode);
    if (result === ACCEPTED && offset === APIC_LVTPC) {
      yield m.step('the entry of the performance counters masks itself');
      kvm_lapic_set_reg(m, vcpu, APIC_LVTPC, entry | APIC_LVT_MASKED);
    }
    return result;
  },
);
