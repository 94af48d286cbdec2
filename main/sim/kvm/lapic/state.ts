/** KVM_GET_LAPIC and KVM_SET_LAPIC: the register page as user space sees it. */
import {
  APIC_ICR,
  APIC_ICR2,
  APIC_ID,
  APIC_LDR,
  APIC_SPIV,
  APIC_TMCCT,
} from '../../state/apicdef.ts';
import { apicPageBytes } from '../../state/lapic.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { irqchipMode } from '../../state/vm.ts';
import { type Body, baseOf, kvm, type Machine } from '../../steps.ts';
import { kvm_apic_update_apicv, sviOfNewState } from '../apicv.ts';
import { EINVAL } from '../errno.ts';
import { kvm_rtc_eoi_tracking_restore_one } from '../ioapic.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { vmx_apicv_pre_state_restore } from '../vmx/apicv.ts';
import { syncsPir, vmx_sync_pir_to_irr } from '../vmx/posted_intr.ts';
import { kvm_recalculate_apic_map, markApicMapDirty } from './apic_map.ts';
import { apic_set_spiv, kvm_apic_calc_x2apic_ldr } from './identity.ts';
import { apic_update_ppr, apic_x2apic_mode } from './priority.ts';
import { apic_manage_nmi_watchdog } from './registers.ts';
import { kvm_apic_set_version } from './reset.ts';
import { __start_apic_timer, apic_update_lvtt, cancel_apic_timer } from './timer.ts';
import { currentCount, update_divide_count } from './timer_target.ts';
import { update_cr8_intercept } from './tpr.ts';

const file = 'arch/x86/kvm/lapic.c';

/** struct kvm_lapic_state: 256 words, a register every four. */
export type LapicState = Uint32Array;
const pageWords = apicPageBytes / 4;

/** Word of a register in a page. */
const wordOf = (offset: number): number => offset >>> 2;

/** From the form of user space to KVM's own: what the mode fixes is not taken from the page. */
const fixupToSet = (m: Machine, vcpu: number, state: LapicState): number => {
  const { vcpu_id } = m.vcpu[vcpu]!;
  if (m.vm.x2apic_format && state[wordOf(APIC_ID)] !== vcpu_id) return -EINVAL;
  state[wordOf(APIC_ID)] = vcpu_id;
  state[wordOf(APIC_LDR)] = kvm_apic_calc_x2apic_ldr(vcpu_id);
  state[wordOf(APIC_ICR) + 1] = state[wordOf(APIC_ICR2)]!;
  return 0;
};

const fixupToGet = (m: Machine, vcpu: number, state: LapicState): void => {
  if (!m.vm.x2apic_format) state[wordOf(APIC_ID)] = m.vcpu[vcpu]!.vcpu_id << 24;
  state[wordOf(APIC_ICR2)] = state[wordOf(APIC_ICR) + 1]!;
};

/**
 * Converts a page of x2APIC mode, in place; −EINVAL for an ID that is not the vCPU's.
 * @kvm arch/x86/kvm/lapic.c
 */
export const kvm_apic_state_fixup = (
  m: Machine,
  vcpu: number,
  state: LapicState,
  set: boolean,
): number => {
  if (!apic_x2apic_mode(m, vcpu)) return 0;
  if (set) return fixupToSet(m, vcpu, state);
  fixupToGet(m, vcpu, state);
  return 0;
};

/** Words that do not change are not written: the log shows what was restored. */
const copyIntoRegisters = (m: Machine, vcpu: number, state: LapicState): void => {
  const base = baseOf(m.vcpu[vcpu]!.apic);
  for (let word = 0; word < pageWords; word++) {
    const value = state[word]!;
    if (m.arena.load(base + word) !== value) m.arena.store(base + word, value);
  }
};

function* restoreTimer(m: Machine, vcpu: number): Body<void> {
  const { apic } = m.vcpu[vcpu]!;
  yield* cancel_apic_timer(m, vcpu);
  yield m.step('expired_tscdeadline = 0');
  apic.lapic_timer.expired_tscdeadline = 0;
  yield* apic_update_lvtt(m, vcpu);
  yield m.step('count NMI modes; the divisor');
  apic_manage_nmi_watchdog(m, vcpu, apic.lvt0);
  update_divide_count(m, vcpu);
  yield* __start_apic_timer(m, vcpu, APIC_TMCCT);
  yield m.step('TMCCT = 0');
  apic.tmcct = 0;
}

/** Takes over a register page; −EINVAL leaves all of it but the enable bit. */
export const kvm_apic_set_state = kvm(
  file,
  function* kvm_apic_set_state(m: Machine, vcpu: number, page: LapicState) {
    const state = page.slice();
    const { spec } = m.vcpu[vcpu]!;
    yield* vmx_apicv_pre_state_restore(m, vcpu);
    yield* apic_set_spiv(m, vcpu, state[wordOf(APIC_SPIV)]!);
    const refused = kvm_apic_state_fixup(m, vcpu, state, true);
    if (refused !== 0) {
      yield* kvm_recalculate_apic_map(m);
      return refused;
    }
    yield m.step('copy the page into the registers');
    copyIntoRegisters(m, vcpu, state);
    spec.irr_hint_open++;
    yield m.step('apic_map_dirty = DIRTY');
    markApicMapDirty(m);
    yield* kvm_recalculate_apic_map(m);
    yield m.step('write the version');
    kvm_apic_set_version(m, vcpu);
    yield* apic_update_ppr(m, vcpu);
    yield* restoreTimer(m, vcpu);
    yield* kvm_apic_update_apicv(m, vcpu);
    spec.irr_hint_open--;
    yield* sviOfNewState(m, vcpu);
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    if (m.vm.irqchip_mode === irqchipMode.KERNEL) {
      yield* kvm_rtc_eoi_tracking_restore_one(m, vcpu);
    }
    yield m.step('arbitration priority = 0');
    m.vcpu[vcpu]!.apic_arb_prio = 0;
    return 0;
  },
);

/** The register page for user space. */
export const kvm_apic_get_state = kvm(file, function* kvm_apic_get_state(m: Machine, vcpu: number) {
  const base = baseOf(m.vcpu[vcpu]!.apic);
  yield m.step('copy the registers');
  const state = m.arena.words.slice(base, base + pageWords);
  state[wordOf(APIC_TMCCT)] = currentCount(m, vcpu);
  kvm_apic_state_fixup(m, vcpu, state, false);
  return state;
});

/** KVM_SET_LAPIC. The registers of a protected APIC are not KVM's. */
export const kvm_vcpu_ioctl_set_lapic = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_vcpu_ioctl_set_lapic(m: Machine, vcpu: number, page: LapicState) {
    if (m.vcpu[vcpu]!.apic.guest_apic_protected) return -EINVAL;
    const refused: number = yield* kvm_apic_set_state(m, vcpu, page);
    if (refused !== 0) return refused;
    yield* update_cr8_intercept(m, vcpu);
    return 0;
  },
);

/** KVM_GET_LAPIC: what was posted belongs to the state that migrates. */
export const kvm_vcpu_ioctl_get_lapic = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_vcpu_ioctl_get_lapic(m: Machine, vcpu: number) {
    if (m.vcpu[vcpu]!.apic.guest_apic_protected) return undefined;
    if (syncsPir(m, vcpu)) yield* vmx_sync_pir_to_irr(m, vcpu);
    const state: LapicState = yield* kvm_apic_get_state(m, vcpu);
    return state;
  },
);
