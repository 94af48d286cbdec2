/** VMREAD and VMWRITE of vmcs12 by the encodings of fields. */

import { Vmcs12, vmcs12Fields } from '../../../state/vmcs12.ts';
import { baseOf, type Machine } from '../../../steps.ts';

interface Place {
  /** word of the record, position and width of the field in it */
  readonly word: number;
  readonly bit: number;
  readonly width: number;
}

const places: ReadonlyMap<number, Place> = new Map(
  Object.values(Vmcs12.fields).flatMap(({ tag, at = 0, width }) =>
    tag === undefined ? [] : [[tag, { word: at >>> 2, bit: (at & 3) * 8, width }]],
  ),
);

/** Is there a field of this encoding? */
export const isReadableField = (encoding: number): boolean => places.has(encoding);

/** @kvm arch/x86/kvm/vmx/vmcs_shadow_fields.h: SHADOW_FIELD_RW */
const shadowed: ReadonlySet<number> = new Set(
  [
    'guest_intr_status',
    'guest_pml_index',
    'pin_based_vm_exec_control',
    'cpu_based_vm_exec_control',
    'vm_entry_intr_info_field',
    'tpr_threshold',
    'guest_interruptibility_info',
    'vmx_preemption_timer_value',
    'guest_rip',
    'guest_rflags',
  ].map((name) => vmcs12Fields[name]!),
);

/** Fields that L1 writes without an exit where the CPU has VMCS shadowing. */
export const isShadowedForWrite = (encoding: number): boolean => shadowed.has(encoding);

const maskOf = (width: number): number => (width >= 32 ? 0xffff_ffff : 2 ** width - 1);

/** Bits of the field. */
export const widthOf = (encoding: number): number => places.get(encoding)!.width;

/** The two halves of a field of the current vmcs12. */
interface FieldValue {
  readonly low: number;
  readonly high: number;
}

export const fieldValue = (m: Machine, vcpu: number, encoding: number): FieldValue => {
  const { word, bit, width } = places.get(encoding)!;
  const first = baseOf(m.vcpu[vcpu]!.nested.cached_vmcs12) + word;
  const low = ((m.arena.load(first) >>> bit) & maskOf(width)) >>> 0;
  return { low, high: width === 64 ? m.arena.load(first + 1) : 0 };
};

/** Puts a field of the current vmcs12 into the guest's registers. */
export const readField = (m: Machine, vcpu: number, encoding: number): void => {
  const { guest } = m.vcpu[vcpu]!;
  const { low, high } = fieldValue(m, vcpu, encoding);
  guest.value = low;
  guest.value_high = high;
};

/** Stores into a field of the current vmcs12. */
export const writeField = (
  m: Machine,
  vcpu: number,
  encoding: number,
  { low, high }: FieldValue,
): void => {
  const { word, bit, width } = places.get(encoding)!;
  const first = baseOf(m.vcpu[vcpu]!.nested.cached_vmcs12) + word;
  const mask = (maskOf(width) << bit) >>> 0;
  const old = m.arena.load(first);
  m.arena.store(first, ((old & ~mask) | ((low << bit) & mask)) >>> 0);
  if (width === 64) m.arena.store(first + 1, high >>> 0);
};
