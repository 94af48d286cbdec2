/** Interrupts from one APIC, or a device, to others: who gets them, and how they get there. */
import {
  APIC_BROADCAST,
  APIC_DEST_LOGICAL,
  APIC_DEST_PHYSICAL,
  APIC_DEST_SELF,
  APIC_DM_FIXED,
  APIC_INT_ASSERT,
  APIC_INT_LEVELTRIG,
  APIC_MODE_MASK,
  APIC_SHORT_MASK,
  APIC_VECTOR_MASK,
} from '../../state/apicdef.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_apic_set_irq } from './accept.ts';
import {
  askEveryApic,
  type KvmLapicIrq,
  kvm_apic_compare_prio,
  kvm_apic_map_get_dest_lapic,
  kvm_apic_match_dest,
  kvm_lowest_prio_delivery,
  kvm_vector_to_index,
} from './destination.ts';
import { apic_x2apic_mode, kvm_apic_hw_enabled, kvm_apic_sw_enabled } from './priority.ts';

const file = 'arch/x86/kvm/lapic.c';

/** No APIC matched the destination. */
const NO_TARGET = -1;
/** The map has no answer, and nothing was sent. */
export const NOT_MAPPED = -2;

/** Gives it to the vCPUs of a mask; how many took it. */
export function* toEachOf(m: Machine, mask: number, irq: KvmLapicIrq, rtc: boolean): Body<number> {
  let count = 0;
  for (let vcpu = 0; vcpu < m.vcpu.length; vcpu++) {
    if ((mask & (1 << vcpu)) !== 0) count += yield* kvm_apic_set_irq(m, vcpu, irq, rtc);
  }
  return count;
}

/**
 * Delivery by the published map, which may be old by the time of the last vCPU.
 * @omits the order of the targets: they get it by their index
 */
export const kvm_irq_delivery_to_apic_fast = kvm(
  file,
  function* kvm_irq_delivery_to_apic_fast(
    m: Machine,
    source: number,
    irq: KvmLapicIrq,
    rtc: boolean,
  ) {
    if (irq.shorthand === APIC_DEST_SELF) {
      const accepted: number = yield* kvm_apic_set_irq(m, source, irq, rtc);
      return accepted;
    }
    yield m.step('read apic_map: whom does it name?');
    const mask = kvm_apic_map_get_dest_lapic(m, source, irq);
    if (mask === askEveryApic) return NOT_MAPPED;
    return yield* toEachOf(m, mask, irq, rtc);
  },
);

/** Every APIC that is present is asked, and takes the interrupt when it is meant. */
function* toEachMatching(m: Machine, source: number, irq: KvmLapicIrq, rtc: boolean): Body<number> {
  let result = NO_TARGET;
  for (const { index } of m.vcpu) {
    yield m.step('is vCPU {vcpu} meant?', index);
    if (!kvm_apic_hw_enabled(m, index) || !kvm_apic_match_dest(m, index, source, irq)) continue;
    const accepted: number = yield* kvm_apic_set_irq(m, index, irq, rtc);
    result = Math.max(0, result) + accepted;
  }
  return result;
}

/** One of those that are meant and enabled: by the vector, or who has had the fewest turns. */
function* toOneMatching(m: Machine, source: number, irq: KvmLapicIrq, rtc: boolean): Body<number> {
  let candidates = 0;
  let lowest = -1;
  for (const { index } of m.vcpu) {
    yield m.step('is vCPU {vcpu} meant, and enabled?', index);
    if (!kvm_apic_hw_enabled(m, index) || !kvm_apic_match_dest(m, index, source, irq)) continue;
    if (!kvm_apic_sw_enabled(m, index)) continue;
    candidates |= 1 << index;
    if (lowest < 0 || kvm_apic_compare_prio(m, index, lowest) < 0) lowest = index;
  }
  if (candidates === 0) return NO_TARGET;
  const chosen = m.vm.vector_hashing ? kvm_vector_to_index(irq.vector, candidates) : lowest;
  const accepted: number = yield* kvm_apic_set_irq(m, chosen, irq, rtc);
  return accepted;
}

/** A physical broadcast has no single target: it is sent as a fixed interrupt. */
const isBroadcastToLowest = (irq: KvmLapicIrq): boolean =>
  irq.dest_mode === APIC_DEST_PHYSICAL &&
  irq.dest_id === APIC_BROADCAST &&
  kvm_lowest_prio_delivery(irq);

/** How many vCPUs took the interrupt, −1 if it was for none. `source`: the sending vCPU, or −1. */
export const kvm_irq_delivery_to_apic = kvm(
  file,
  function* kvm_irq_delivery_to_apic(
    m: Machine,
    source: number,
    asked: KvmLapicIrq,
    rtc?: boolean,
  ) {
    const fast: number = yield* kvm_irq_delivery_to_apic_fast(m, source, asked, rtc === true);
    if (fast !== NOT_MAPPED) return fast;
    const irq = isBroadcastToLowest(asked) ? { ...asked, delivery_mode: APIC_DM_FIXED } : asked;
    const deliver = kvm_lowest_prio_delivery(irq) ? toOneMatching : toEachMatching;
    const result: number = yield* deliver(m, source, irq, rtc === true);
    return result;
  },
);

/** What a write of the ICR sends. */
export const kvm_apic_send_ipi = kvm(
  file,
  function* kvm_apic_send_ipi(m: Machine, vcpu: number, icrLow: number, icrHigh: number) {
    const irq: KvmLapicIrq = {
      vector: icrLow & APIC_VECTOR_MASK,
      delivery_mode: icrLow & APIC_MODE_MASK,
      dest_mode: icrLow & APIC_DEST_LOGICAL,
      shorthand: icrLow & APIC_SHORT_MASK,
      level: (icrLow & APIC_INT_ASSERT) !== 0,
      trig_mode: (icrLow & APIC_INT_LEVELTRIG) !== 0,
      dest_id: apic_x2apic_mode(m, vcpu) ? icrHigh : icrHigh >>> 24,
      msi_redir_hint: false,
    };
    const count: number = yield* kvm_irq_delivery_to_apic(m, vcpu, irq);
    return count;
  },
);
