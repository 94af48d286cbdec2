/** What the destination map is made of: IDs, the logical destination, the software enable. */
import { APIC_SPIV_APIC_ENABLED } from '../../state/apicdef.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { markApicMapDirty } from './apic_map.ts';

const file = 'arch/x86/kvm/lapic.c';

// The registers are written before the map is DIRTY: whoever then computes it finds them.
function* dirty(m: Machine): Body<void> {
  yield m.step('apic_map_dirty = DIRTY');
  markApicMapDirty(m);
}

/** The ID of xAPIC mode: 8 bits of the vCPU's own. */
export const kvm_apic_set_xapic_id = kvm(
  file,
  function* kvm_apic_set_xapic_id(m: Machine, vcpu: number, id: number) {
    yield m.step('write xAPIC ID {id}', id & 0xff);
    m.vcpu[vcpu]!.apic.id = (id & 0xff) << 24;
    yield* dirty(m);
  },
);

/** @kvm arch/x86/kvm/lapic.c: kvm_apic_calc_x2apic_ldr */
export const kvm_apic_calc_x2apic_ldr = (id: number): number =>
  (((id >>> 4) << 16) | (1 << (id & 0xf))) >>> 0;

/** ID and LDR of x2APIC mode, which the guest cannot change. */
export const kvm_apic_set_x2apic_id = kvm(
  file,
  function* kvm_apic_set_x2apic_id(m: Machine, vcpu: number, id: number) {
    const { apic } = m.vcpu[vcpu]!;
    yield m.step('write x2APIC ID {id}', id);
    apic.id = id;
    yield m.step('write the LDR that belongs to it');
    apic.ldr = kvm_apic_calc_x2apic_ldr(id);
    yield* dirty(m);
  },
);

/** The logical destination of xAPIC mode. */
export const kvm_apic_set_ldr = kvm(
  file,
  function* kvm_apic_set_ldr(m: Machine, vcpu: number, value: number) {
    yield m.step('write LDR {value}', value);
    m.vcpu[vcpu]!.apic.ldr = value;
    yield* dirty(m);
  },
);

/** Flat or cluster form of the logical destination. */
export const kvm_apic_set_dfr = kvm(
  file,
  function* kvm_apic_set_dfr(m: Machine, vcpu: number, value: number) {
    yield m.step('write DFR {value}', value);
    m.vcpu[vcpu]!.apic.dfr = value;
    yield* dirty(m);
  },
);

/** Writes SPIV, and follows its enable bit. @omits the counter of disabled APICs (a jump label) */
export const apic_set_spiv = kvm(
  file,
  function* apic_set_spiv(m: Machine, vcpu: number, value: number) {
    const { apic, spec } = m.vcpu[vcpu]!;
    const enabled = (value & APIC_SPIV_APIC_ENABLED) !== 0;
    yield m.step('write SPIV {value}', value);
    apic.spiv = value;
    if (spec.lvts_to_mask) spec.lvts_to_mask = false;
    if (enabled !== apic.sw_enabled) {
      yield m.step('sw_enabled = {enabled}', enabled ? 1 : 0);
      apic.sw_enabled = enabled;
      yield* dirty(m);
    }
    if (enabled) {
      yield m.step('make APF_READY');
      kvm_make_request(m, vcpu, KVM_REQ.APF_READY);
    }
  },
);
