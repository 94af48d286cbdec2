/** RESET and INIT of the local APIC. */
import { hrtimer_cancel } from '../../host/hrtimer.ts';
import { APIC_DEFAULT_PHYS_BASE } from '../../state/addresses.ts';
import {
  APIC_DM_EXTINT,
  APIC_LVR_DIRECTED_EOI,
  APIC_LVT_MASKED,
  APIC_VERSION,
  MSR_IA32_APICBASE_BSP,
  MSR_IA32_APICBASE_ENABLE,
} from '../../state/apicdef.ts';
import { irqchipMode, quirk } from '../../state/vm.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_apic_update_apicv, sviOfNewState } from '../apicv.ts';
import { vmx_apicv_pre_state_restore } from '../vmx/apicv.ts';
import { kvm_recalculate_apic_map } from './apic_map.ts';
import { __kvm_apic_set_base } from './base.ts';
import {
  apic_set_spiv,
  kvm_apic_set_dfr,
  kvm_apic_set_ldr,
  kvm_apic_set_xapic_id,
} from './identity.ts';
import { kvm_lapic_set_reg, lvtOffset } from './page.ts';
import { apic_update_ppr, apic_x2apic_mode } from './priority.ts';
import { apic_manage_nmi_watchdog } from './registers.ts';
import { apic_update_lvtt } from './timer.ts';
import { update_divide_count } from './timer_target.ts';

const file = 'arch/x86/kvm/lapic.c';

const DFR_FLAT = 0xffff_ffff;
const SPIV_RESET = 0xff;

/** @kvm arch/x86/kvm/x86.h: kvm_vcpu_is_reset_bsp */
const kvm_vcpu_is_reset_bsp = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.vcpu_id === m.vm.bsp_vcpu_id;

/**
 * The version: directed EOI only where the IOAPIC is in user space, for KVM's own has no EOI
 * register. @kvm arch/x86/kvm/lapic.c
 */
export const kvm_apic_set_version = (m: Machine, vcpu: number): void => {
  const { apic } = m.vcpu[vcpu]!;
  const directed = m.vm.x2apic_cpuid && m.vm.irqchip_mode !== irqchipMode.KERNEL;
  const entries = (apic.nr_lvt_entries - 1) << 16;
  apic.lvr = APIC_VERSION | entries | (directed ? APIC_LVR_DIRECTED_EOI : 0);
};

function* resetVectorTable(m: Machine, vcpu: number): Body<void> {
  const { apic } = m.vcpu[vcpu]!;
  yield m.step('mask every entry of the local vector table');
  for (let index = 0; index < apic.nr_lvt_entries; index++) {
    kvm_lapic_set_reg(m, vcpu, lvtOffset(index), APIC_LVT_MASKED);
  }
  yield* apic_update_lvtt(m, vcpu);
  yield m.step('LVT0 of the boot processor takes ExtINT; count NMI modes');
  const quirked = !m.vm.disabled_quirks.has(quirk.LINT0_REENABLED);
  if (kvm_vcpu_is_reset_bsp(m, vcpu) && quirked) apic.lvt0 = APIC_DM_EXTINT;
  apic_manage_nmi_watchdog(m, vcpu, apic.lvt0);
}

function* resetRegisters(m: Machine, vcpu: number): Body<void> {
  const { apic } = m.vcpu[vcpu]!;
  yield* kvm_apic_set_dfr(m, vcpu, DFR_FLAT);
  yield* apic_set_spiv(m, vcpu, SPIV_RESET);
  yield m.step('TPR = 0');
  apic.tpr = 0;
  // In x2APIC mode the LDR belongs to the ID.
  if (!apic_x2apic_mode(m, vcpu)) yield* kvm_apic_set_ldr(m, vcpu, 0);
  yield m.step('ESR, ICR, TDCR, TMICT = 0');
  apic.esr = 0;
  apic.icr = 0;
  if (apic_x2apic_mode(m, vcpu)) apic.icr_high = 0;
  else apic.icr2 = 0;
  apic.tdcr = 0;
  apic.tmict = 0;
  yield m.step('IRR, ISR, TMR = 0');
  apic.irr.clearAll();
  apic.isr.clearAll();
  apic.tmr.clearAll();
}

/** RESET, or with `init` INIT, which keeps base, mode and ID. */
export const kvm_lapic_reset = kvm(
  file,
  function* kvm_lapic_reset(m: Machine, vcpu: number, init: boolean) {
    const target = m.vcpu[vcpu]!;
    yield* vmx_apicv_pre_state_restore(m, vcpu);
    if (!init) {
      const bsp = kvm_vcpu_is_reset_bsp(m, vcpu) ? MSR_IA32_APICBASE_BSP : 0;
      const base = APIC_DEFAULT_PHYS_BASE + MSR_IA32_APICBASE_ENABLE + bsp;
      yield* __kvm_apic_set_base(m, vcpu, base, 0);
    }
    yield* hrtimer_cancel(m, vcpu);
    if (!init) yield* kvm_apic_set_xapic_id(m, vcpu, target.vcpu_id);
    yield m.step('write the version');
    kvm_apic_set_version(m, vcpu);
    yield* resetVectorTable(m, vcpu);
    yield* resetRegisters(m, vcpu);
    yield* kvm_apic_update_apicv(m, vcpu);
    yield m.step('pending = 0; no paravirtual EOI');
    update_divide_count(m, vcpu);
    target.apic.lapic_timer.pending = 0;
    target.pv_eoi.msr_val = 0;
    yield* apic_update_ppr(m, vcpu);
    yield* sviOfNewState(m, vcpu);
    yield m.step('arbitration priority and apic_attention = 0');
    target.apic_arb_prio = 0;
    target.apic_attention.clearAll();
    yield* kvm_recalculate_apic_map(m);
  },
);
