/** Which vCPUs an interrupt is for: by asking each APIC, or by the map that answers at once. */

import { logicalMode } from '../../state/apic_map.ts';
import {
  APIC_BROADCAST,
  APIC_DEST_ALLBUT,
  APIC_DEST_ALLINC,
  APIC_DEST_NOSHORT,
  APIC_DEST_PHYSICAL,
  APIC_DEST_SELF,
  APIC_DFR_CLUSTER,
  APIC_DFR_FLAT,
  APIC_DM_LOWEST,
  X2APIC_BROADCAST,
} from '../../state/apicdef.ts';
import type { Machine } from '../../steps.ts';
import { logicalDestOf, physMapOf } from './apic_map.ts';
import { apic_x2apic_mode, kvm_apic_hw_enabled } from './priority.ts';

/** struct kvm_lapic_irq: an interrupt on its way. Modes and shorthand are the bits of the ICR. */
export interface KvmLapicIrq {
  readonly vector: number;
  readonly delivery_mode: number;
  readonly dest_mode: number;
  readonly shorthand: number;
  readonly level: boolean;
  readonly trig_mode: boolean;
  readonly dest_id: number;
  readonly msi_redir_hint: boolean;
}

/** The source of an interrupt that no vCPU sent: a device, an MSI. */
export const noSource = -1;
/** What the map says where it has no answer. */
export const askEveryApic = -1;

/** @kvm arch/x86/kvm/lapic.h */
export const kvm_lowest_prio_delivery = (irq: KvmLapicIrq): boolean =>
  irq.delivery_mode === APIC_DM_LOWEST || irq.msi_redir_hint;

/** The destination as this APIC sees it. @kvm arch/x86/kvm/lapic.c */
const kvm_apic_mda = (m: Machine, target: number, dest: number, source: number): number => {
  const quirk = !m.vm.x2apic_broadcast_quirk_disabled;
  // No interrupt remapping stands between a device and an x2APIC: 0xff of a device means all.
  if (quirk && source === noSource && dest === APIC_BROADCAST && apic_x2apic_mode(m, target)) {
    return X2APIC_BROADCAST;
  }
  return dest;
};

/** @kvm arch/x86/kvm/lapic.c */
const kvm_apic_broadcast = (m: Machine, vcpu: number, mda: number): boolean =>
  mda === (apic_x2apic_mode(m, vcpu) ? X2APIC_BROADCAST : APIC_BROADCAST);

/** @kvm arch/x86/kvm/lapic.c */
const kvm_apic_match_physical_addr = (m: Machine, vcpu: number, mda: number): boolean => {
  const { vcpu_id, apic } = m.vcpu[vcpu]!;
  if (kvm_apic_broadcast(m, vcpu, mda)) return true;
  // A hot-plugged vCPU begins in xAPIC mode; IDs that need more than 8 bits reach it all the same.
  if (apic_x2apic_mode(m, vcpu) || mda > 0xff) return mda === vcpu_id;
  return mda === apic.id >>> 24;
};

/** @kvm arch/x86/kvm/lapic.c */
const kvm_apic_match_logical_addr = (m: Machine, vcpu: number, mda: number): boolean => {
  if (kvm_apic_broadcast(m, vcpu, mda)) return true;
  const { ldr, dfr } = m.vcpu[vcpu]!.apic;
  if (apic_x2apic_mode(m, vcpu)) {
    return ldr >>> 16 === mda >>> 16 && (ldr & mda & 0xffff) !== 0;
  }
  const logicalId = ldr >>> 24;
  if (dfr === APIC_DFR_FLAT) return (logicalId & mda) !== 0;
  if (dfr === APIC_DFR_CLUSTER)
    return logicalId >>> 4 === mda >>> 4 && (logicalId & mda & 15) !== 0;
  return false;
};

type Match = (m: Machine, vcpu: number, source: number, dest: number, mode: number) => boolean;

const byShorthand: Readonly<Record<number, Match>> = {
  [APIC_DEST_NOSHORT]: (m, vcpu, source, dest, mode) => {
    const mda = kvm_apic_mda(m, vcpu, dest, source);
    return mode === APIC_DEST_PHYSICAL
      ? kvm_apic_match_physical_addr(m, vcpu, mda)
      : kvm_apic_match_logical_addr(m, vcpu, mda);
  },
  [APIC_DEST_SELF]: (_, vcpu, source) => vcpu === source,
  [APIC_DEST_ALLINC]: () => true,
  [APIC_DEST_ALLBUT]: (_, vcpu, source) => vcpu !== source,
};

/** Is this APIC meant? @kvm arch/x86/kvm/lapic.c */
export const kvm_apic_match_dest = (
  m: Machine,
  vcpu: number,
  source: number,
  { shorthand, dest_id, dest_mode }: Pick<KvmLapicIrq, 'shorthand' | 'dest_id' | 'dest_mode'>,
): boolean => byShorthand[shorthand]!(m, vcpu, source, dest_id, dest_mode);

/** Is it a destination that the map cannot answer for? @kvm arch/x86/kvm/lapic.c */
const kvm_apic_is_broadcast_dest = (m: Machine, source: number, dest: number): boolean => {
  if (m.vm.x2apic_broadcast_quirk_disabled) {
    const x2apic = m.vm.apic_map.logical_mode === logicalMode.X2APIC;
    return dest === X2APIC_BROADCAST || (dest === APIC_BROADCAST && !x2apic);
  }
  const x2apicIpi = source !== noSource && apic_x2apic_mode(m, source);
  return dest === (x2apicIpi ? X2APIC_BROADCAST : APIC_BROADCAST);
};

/** The bit of the destination that a vector falls on. @kvm arch/x86/kvm/lapic.c */
export const kvm_vector_to_index = (vector: number, mask: number): number => {
  let turns = vector % countOf(mask);
  let rest = mask;
  for (; turns > 0; turns--) rest &= rest - 1;
  return 31 - Math.clz32(rest & -rest);
};

const countOf = (mask: number): number => {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
};

const maskOf = (vcpu: number): number => (vcpu < 0 ? 0 : 1 << vcpu);

/** Which of two vCPUs has had fewer turns; negative for the first. @kvm arch/x86/kvm/lapic.c */
export const kvm_apic_compare_prio = (m: Machine, one: number, other: number): number =>
  m.vcpu[one]!.apic_arb_prio - m.vcpu[other]!.apic_arb_prio;

/** All vCPUs of a logical destination, or the one of them whose turn it is. */
const logicalVcpus = (m: Machine, irq: KvmLapicIrq): number => {
  const { apic_map: map, vector_hashing } = m.vm;
  const logical = logicalDestOf(map);
  if (logical === undefined) return askEveryApic;
  const slots = logical.mask(map, irq.dest_id);
  if (slots === 0) return 0;
  const lowestPriority = kvm_lowest_prio_delivery(irq);
  if (lowestPriority && vector_hashing) {
    const bit = kvm_vector_to_index(irq.vector, slots);
    return maskOf(logical.slot(map, irq.dest_id, bit));
  }
  let all = 0;
  let lowest = -1;
  for (let rest = slots; rest !== 0; rest &= rest - 1) {
    const vcpu = logical.slot(map, irq.dest_id, 31 - Math.clz32(rest & -rest));
    if (vcpu < 0) continue;
    all |= maskOf(vcpu);
    if (lowest < 0 || kvm_apic_compare_prio(m, vcpu, lowest) < 0) lowest = vcpu;
  }
  return lowestPriority ? maskOf(lowest) : all;
};

/**
 * Mask of the vCPUs that the map names, `askEveryApic` where it does not answer.
 * @kvm arch/x86/kvm/lapic.c
 */
export const kvm_apic_map_get_dest_lapic = (
  m: Machine,
  source: number,
  irq: KvmLapicIrq,
): number => {
  const { apic_map: map } = m.vm;
  if (irq.shorthand !== APIC_DEST_NOSHORT || !map.valid) return askEveryApic;
  if (kvm_apic_is_broadcast_dest(m, source, irq.dest_id)) return askEveryApic;
  if (irq.dest_mode === APIC_DEST_PHYSICAL) return maskOf(physMapOf(map, irq.dest_id));
  return logicalVcpus(m, irq);
};

/** Mask of the vCPUs that an interrupt of a device could go to. @kvm arch/x86/kvm/lapic.c */
export const kvm_bitmap_or_dest_vcpus = (m: Machine, irq: KvmLapicIrq): number => {
  const mapped = kvm_apic_map_get_dest_lapic(m, noSource, irq);
  if (mapped !== askEveryApic) return mapped;
  let mask = 0;
  for (let vcpu = 0; vcpu < m.vcpu.length; vcpu++) {
    if (!kvm_apic_hw_enabled(m, vcpu)) continue;
    if (kvm_apic_match_dest(m, vcpu, noSource, irq)) mask |= 1 << vcpu;
  }
  return mask;
};
