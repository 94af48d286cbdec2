/** Exits that are handled with interrupts off, so that the guest goes on at once. */
import { srcu_read_lock, srcu_read_unlock } from '../host/locks.ts';
import { skipInstruction } from '../hw/guest_program.ts';
import { currentVmcs } from '../hw/vmcs.ts';
import { APIC_BASE_MSR, APIC_ICR, APIC_MODE_MASK } from '../state/apicdef.ts';
import type { Program } from '../state/program.ts';
import { exitReason } from '../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { kvm_emulate_halt, kvm_vcpu_running } from './block.ts';
import { type MsrAccess, msrAccessAt } from './decode.ts';
import { kvm_x2apic_msr_write } from './lapic/access.ts';
import { apic_x2apic_mode } from './lapic/priority.ts';
import {
  kvm_can_use_hv_timer,
  kvm_lapic_expired_hv_timer,
  kvm_set_lapic_tscdeadline_msr,
} from './lapic/timer.ts';
import { timerSoftDisabled } from './vmx/hv_timer.ts';

/** enum exit_fastpath_completion */
export const fastpath = { NONE: 0, REENTER_GUEST: 1, EXIT_HANDLED: 2 } as const;
type Fastpath = (typeof fastpath)[keyof typeof fastpath];

const MSR_ICR = APIC_BASE_MSR + APIC_ICR / 16;
const MSR_IA32_TSC_DEADLINE = 0x6e0;
const APIC_SHORT_MASK = 0xc_0000;
const APIC_DEST_LOGICAL = 0x800;
const X2APIC_BROADCAST = 0xffff_ffff;

/** A fixed interrupt to one APIC by its ID can be sent without sleeping. */
const isSimpleIpi = ({ low, high }: MsrAccess): boolean =>
  (low & (APIC_SHORT_MASK | APIC_DEST_LOGICAL | APIC_MODE_MASK)) === 0 && high !== X2APIC_BROADCAST;

/** True if the write was done. @kvm arch/x86/kvm/x86.c */
function* writeMsr(m: Machine, vcpu: number, access: MsrAccess): Body<boolean> {
  const { msr, low, high } = access;
  if (msr === MSR_ICR && apic_x2apic_mode(m, vcpu) && isSimpleIpi(access)) {
    return (yield* kvm_x2apic_msr_write(m, vcpu, msr, low, high)) === 0;
  }
  if (msr !== MSR_IA32_TSC_DEADLINE || !kvm_can_use_hv_timer(m, vcpu)) return false;
  yield* kvm_set_lapic_tscdeadline_msr(m, vcpu, high * 2 ** 32 + low);
  return true;
}

const handle_fastpath_set_msr_irqoff = kvm(
  'arch/x86/kvm/x86.c',
  function* handle_fastpath_set_msr_irqoff(m: Machine, vcpu: number, program: Program) {
    const access = msrAccessAt(m, program);
    const done: boolean = yield* writeMsr(m, vcpu, access);
    if (!done) return fastpath.NONE as Fastpath;
    skipInstruction(m, program);
    return fastpath.REENTER_GUEST;
  },
);

const handle_fastpath_hlt = kvm(
  'arch/x86/kvm/x86.c',
  function* handle_fastpath_hlt(m: Machine, vcpu: number, program: Program) {
    yield m.step('srcu_read_lock');
    const idx = srcu_read_lock(m);
    yield* kvm_emulate_halt(m, vcpu, program);
    yield m.step('srcu_read_unlock');
    srcu_read_unlock(m, idx);
    const running = kvm_vcpu_running(m, vcpu);
    return (running ? fastpath.REENTER_GUEST : fastpath.EXIT_HANDLED) as Fastpath;
  },
);

/** An exit that KVM forced has done its work; one for the APIC timer of L2 may have to end L2. */
const handle_fastpath_preemption_timer = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* handle_fastpath_preemption_timer(m: Machine, vcpu: number, forced: boolean) {
    if (forced) return fastpath.EXIT_HANDLED as Fastpath;
    const nothingDue = currentVmcs(m, vcpu).vmx_preemption_timer_value === timerSoftDisabled;
    if (nothingDue) return fastpath.REENTER_GUEST;
    const slow = m.vcpu[vcpu]!.guest_mode || m.switch('fastpath-exits') === 'none';
    if (slow) return fastpath.NONE;
    yield* kvm_lapic_expired_hv_timer(m, vcpu);
    return fastpath.REENTER_GUEST;
  },
);

/**
 * Handles an exit before interrupts are on again, if it is one of the few for which that pays.
 * @omits exits for INVD
 */
export const vmx_exit_handlers_fastpath = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_exit_handlers_fastpath(
    m: Machine,
    vcpu: number,
    reason: number,
    program: Program,
    forced: boolean,
  ) {
    const { guest_mode, apic } = m.vcpu[vcpu]!;
    if (reason === exitReason.PREEMPTION_TIMER) {
      const outcome: Fastpath = yield* handle_fastpath_preemption_timer(m, vcpu, forced);
      return outcome;
    }
    // What a TD asks for comes through the TDX module.
    if (guest_mode || apic.guest_apic_protected) return fastpath.NONE as Fastpath;
    let result: Fastpath = fastpath.NONE;
    const exits = m.switch('fastpath-exits');
    if (reason === exitReason.WRMSR && exits !== 'none') {
      result = yield* handle_fastpath_set_msr_irqoff(m, vcpu, program);
    } else if (reason === exitReason.HLT && exits === 'msr-hlt') {
      result = yield* handle_fastpath_hlt(m, vcpu, program);
    }
    return result;
  },
);
