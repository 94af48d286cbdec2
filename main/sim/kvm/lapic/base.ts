/** MSR IA32_APIC_BASE: the mode of the APIC and the address of its window. */
import { APIC_DEFAULT_PHYS_BASE } from '../../state/addresses.ts';
import { MSR_IA32_APICBASE_ENABLE, X2APIC_ENABLE } from '../../state/apicdef.ts';
import { PAGE_SIZE } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { apicvInhibitReason } from '../../state/vm.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_set_or_clear_apicv_inhibit } from '../apicv.ts';
import { EINVAL } from '../errno.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { vmx_set_virtual_apic_mode } from '../vmx/apicv.ts';
import { kvm_recalculate_apic_map, markApicMapDirty } from './apic_map.ts';
import { kvm_apic_set_x2apic_id, kvm_apic_set_xapic_id } from './identity.ts';

const file = 'arch/x86/kvm/lapic.c';

/** Bits of the base that no mode uses. */
const ALWAYS_RESERVED = 0x2ff;
const TWO_32 = 0x1_0000_0000;

/** Bits 11:10 of the base, as a mode. */
const lapicMode = {
  DISABLED: 0,
  INVALID: X2APIC_ENABLE,
  XAPIC: MSR_IA32_APICBASE_ENABLE,
  X2APIC: MSR_IA32_APICBASE_ENABLE | X2APIC_ENABLE,
} as const;

/** @kvm arch/x86/kvm/lapic.h */
const kvm_apic_mode = (base: number): number => base & (MSR_IA32_APICBASE_ENABLE | X2APIC_ENABLE);

function* switchHardwareEnable(m: Machine, vcpu: number, enabled: boolean): Body<void> {
  if (!enabled) {
    yield m.step('apic_map_dirty = DIRTY');
    markApicMapDirty(m);
    return;
  }
  yield* kvm_apic_set_xapic_id(m, vcpu, m.vcpu[vcpu]!.vcpu_id);
  yield m.step('make APF_READY');
  kvm_make_request(m, vcpu, KVM_REQ.APF_READY);
}

/** The registers whose form depends on the mode. */
function* switchMode(m: Machine, vcpu: number, changed: number): Body<void> {
  const { vcpu_id, apic_base } = m.vcpu[vcpu]!;
  const enabled = (apic_base & MSR_IA32_APICBASE_ENABLE) !== 0;
  if ((changed & MSR_IA32_APICBASE_ENABLE) !== 0) yield* switchHardwareEnable(m, vcpu, enabled);
  if ((changed & X2APIC_ENABLE) !== 0) {
    if ((apic_base & X2APIC_ENABLE) !== 0) yield* kvm_apic_set_x2apic_id(m, vcpu, vcpu_id);
    else if (enabled) yield* kvm_apic_set_xapic_id(m, vcpu, vcpu_id);
  }
  if (changed === 0) return;
  yield m.step('make APICV_UPDATE');
  kvm_make_request(m, vcpu, KVM_REQ.APICV_UPDATE);
  yield* vmx_set_virtual_apic_mode(m, vcpu);
}

/** Writes the base, and what depends on it; the destination map is left DIRTY. */
export const __kvm_apic_set_base = kvm(
  file,
  function* __kvm_apic_set_base(m: Machine, vcpu: number, low: number, high: number) {
    const target = m.vcpu[vcpu]!;
    const value = high * TWO_32 + low;
    const changed = kvm_apic_mode(target.apic_base) ^ kvm_apic_mode(value);
    yield m.step('write apic_base');
    target.apic_base = value;
    yield* switchMode(m, vcpu, changed);
    // MSR_IA32_APICBASE_BASE is an int, 0xfffff << 12 (asm/msr-index.h): beside a u64 its sign
    // extends, so that the mask keeps the upper half of the address too.
    yield m.step('base_address = bits 63:12');
    target.apic.base_address = value - (value % PAGE_SIZE);
    const enabled = (low & MSR_IA32_APICBASE_ENABLE) !== 0;
    if (!enabled || target.apic.base_address === APIC_DEFAULT_PHYS_BASE) return;
    yield* kvm_set_or_clear_apicv_inhibit(m, apicvInhibitReason.APIC_BASE_MODIFIED, true);
  },
);

const hasReservedBits = (m: Machine, low: number, high: number): boolean => {
  const reserved = ALWAYS_RESERVED | (m.vm.x2apic_cpuid ? 0 : X2APIC_ENABLE);
  return (low & reserved) !== 0 || high >= 2 ** (m.vm.maxphyaddr - 32);
};

/** A guest may leave x2APIC mode, and enter it, only through a neighbour of it. */
const guestMaySwitch = (from: number, to: number): boolean =>
  !(from === lapicMode.X2APIC && to === lapicMode.XAPIC) &&
  !(from === lapicMode.DISABLED && to === lapicMode.X2APIC);

/** WRMSR of IA32_APIC_BASE, or user space (`host`); 1 if the value is refused. */
export const kvm_apic_set_base = kvm(
  file,
  function* kvm_apic_set_base(m: Machine, vcpu: number, low: number, high: number, host: boolean) {
    const { apic_base } = m.vcpu[vcpu]!;
    if (apic_base === high * TWO_32 + low) return 0;
    const mode = kvm_apic_mode(low);
    if (hasReservedBits(m, low, high) || mode === lapicMode.INVALID) return 1;
    if (!host && !guestMaySwitch(kvm_apic_mode(apic_base), mode)) return 1;
    yield* __kvm_apic_set_base(m, vcpu, low, high);
    yield* kvm_recalculate_apic_map(m);
    return 0;
  },
);

/** KVM_SET_SREGS; −EINVAL for a base that cannot be. @omits every register but IA32_APIC_BASE */
export const kvm_arch_vcpu_ioctl_set_sregs = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_arch_vcpu_ioctl_set_sregs(m: Machine, vcpu: number, low: number, high: number) {
    const refused: number = yield* kvm_apic_set_base(m, vcpu, low, high, true);
    return refused === 0 ? 0 : -EINVAL;
  },
);
