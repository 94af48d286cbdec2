/** What KVM does with an exit of the guest, by its reason. */
import { skipInstruction } from '../hw/guest_program.ts';
import { currentVmcs } from '../hw/vmcs.ts';
import { APIC_BASE_MSR, APIC_EOI } from '../state/apicdef.ts';
import { HV_X64_MSR_VP_ASSIST_PAGE } from '../state/evmcs.ts';
import type { Program } from '../state/program.ts';
import { KVM_REQ } from '../state/requests.ts';
import { kvmExit } from '../state/vcpu.ts';
import { cpuControl, exitReason } from '../state/vmcs.ts';
import { type Body, kvm, type Machine, type Steps } from '../steps.ts';
import { kvm_emulate_halt } from './block.ts';
import { kvm_emulate_cpuid } from './cpuid.ts';
import { cr8At, type MsrAccess, memoryAccessAt, msrAccessAt } from './decode.ts';
import { x86_emulate_instruction } from './emulate.ts';
import { kvm_emulate_hypercall } from './hypercall.ts';
import { kvm_make_request } from './kvm_main.ts';
import {
  kvm_apic_write_nodecode,
  kvm_lapic_set_eoi,
  kvm_x2apic_msr_read,
  kvm_x2apic_msr_write,
} from './lapic/access.ts';
import { kvm_apic_set_base } from './lapic/base.ts';
import { kvm_apic_set_eoi_accelerated } from './lapic/eoi.ts';
import { apic_update_ppr } from './lapic/priority.ts';
import {
  kvm_get_lapic_tscdeadline_msr,
  kvm_lapic_expired_hv_timer,
  kvm_set_lapic_tscdeadline_msr,
} from './lapic/timer.ts';
import { kvm_lapic_get_cr8, kvm_lapic_set_tpr } from './lapic/tpr.ts';
import { kvm_lapic_set_pv_eoi } from './lapic/vapic.ts';
import { handle_mmio_page_fault } from './mmu/mmio_spte.ts';
import { ept_page_fault, kvm_tdp_page_fault } from './mmu/mmu.ts';
import { RET_PF } from './mmu/ret_pf.ts';
import { nested_mark_vmcs12_pages_dirty } from './vmx/nested/pages.ts';
import { nested_vmx_reflect_vmexit } from './vmx/nested/reflect.ts';
import { vmxInstructionHandlers } from './vmx/nested/vmx_instructions.ts';

const vmx = 'arch/x86/kvm/vmx/vmx.c';
const x86 = 'arch/x86/kvm/x86.c';

const MSR_IA32_APICBASE = 0x1b;
const MSR_IA32_TSC_DEADLINE = 0x6e0;
const MSR_KVM_PV_EOI_EN = 0x4b56_4d04;
const x2apicMsrs = 0x100;
const TWO_32 = 0x1_0000_0000;
/** Exit qualification of MOV to CR8. */
const TO_CR8 = 0x08;
/** Type of access in the exit qualification of 44: a linear write. */
const LINEAR_WRITE = 1;

/** The instruction has completed, or (`fault`) raised #GP. @kvm x86.c: kvm_complete_insn_gp */
const complete = (m: Machine, vcpu: number, program: Program, fault: boolean): void => {
  if (fault) m.vcpu[vcpu]!.guest.faulted++;
  skipInstruction(m, program);
};

const isX2apic = (msr: number): boolean => msr >= APIC_BASE_MSR && msr < APIC_BASE_MSR + x2apicMsrs;

const setValue = (m: Machine, vcpu: number, value: number): void => {
  const { guest } = m.vcpu[vcpu]!;
  guest.value = value % TWO_32;
  guest.value_high = Math.floor(value / TWO_32);
};

/** 0, or 1 for #GP. @omits MSRs that have nothing to do with the APIC */
const kvm_get_msr_common = kvm(
  x86,
  function* kvm_get_msr_common(m: Machine, vcpu: number, msr: number) {
    if (isX2apic(msr)) return (yield* kvm_x2apic_msr_read(m, vcpu, msr)) as number;
    if (msr === MSR_IA32_APICBASE) setValue(m, vcpu, m.vcpu[vcpu]!.apic_base);
    else if (msr === MSR_IA32_TSC_DEADLINE) {
      setValue(m, vcpu, kvm_get_lapic_tscdeadline_msr(m, vcpu));
    } else if (msr === MSR_KVM_PV_EOI_EN) setValue(m, vcpu, m.vcpu[vcpu]!.pv_eoi.msr_val);
    else return 1;
    return 0;
  },
);

/**
 * A guest that sees Hyper-V says where KVM finds what it wants to tell.
 * @kvm arch/x86/kvm/hyperv.c: kvm_hv_set_msr
 */
const setVpAssistPage = (m: Machine, vcpu: number, value: number): number => {
  const { nested } = m.vcpu[vcpu]!;
  if (!nested.enlightened_vmcs_enabled) return 1;
  nested.hv_vp_assist_page = value;
  return 0;
};

/** 0, or 1 for #GP. */
const kvm_set_msr_common = kvm(
  x86,
  function* kvm_set_msr_common(m: Machine, vcpu: number, { msr, low, high }: MsrAccess) {
    if (isX2apic(msr)) return (yield* kvm_x2apic_msr_write(m, vcpu, msr, low, high)) as number;
    if (msr === MSR_IA32_APICBASE) {
      return (yield* kvm_apic_set_base(m, vcpu, low, high, false)) as number;
    }
    if (msr === MSR_KVM_PV_EOI_EN) {
      const refused: number = yield* kvm_lapic_set_pv_eoi(m, vcpu, high * TWO_32 + low);
      return refused === 0 ? 0 : 1;
    }
    if (msr === HV_X64_MSR_VP_ASSIST_PAGE) return setVpAssistPage(m, vcpu, high * TWO_32 + low);
    if (msr !== MSR_IA32_TSC_DEADLINE) return 1;
    yield* kvm_set_lapic_tscdeadline_msr(m, vcpu, high * TWO_32 + low);
    return 0;
  },
);

const kvm_emulate_rdmsr = kvm(
  x86,
  function* kvm_emulate_rdmsr(m: Machine, vcpu: number, program: Program) {
    const { msr } = msrAccessAt(m, program);
    const outcome: number = yield* kvm_get_msr_common(m, vcpu, msr);
    complete(m, vcpu, program, outcome !== 0);
  },
);

const kvm_emulate_wrmsr = kvm(
  x86,
  function* kvm_emulate_wrmsr(m: Machine, vcpu: number, program: Program) {
    const outcome: number = yield* kvm_set_msr_common(m, vcpu, msrAccessAt(m, program));
    complete(m, vcpu, program, outcome !== 0);
  },
);

const handle_cr = kvm(vmx, function* handle_cr(m: Machine, vcpu: number, program: Program) {
  const target = m.vcpu[vcpu]!;
  if (currentVmcs(m, vcpu).exit_qualification !== TO_CR8) {
    yield m.step('MOV from CR8');
    target.guest.value = kvm_lapic_get_cr8(m, vcpu);
    complete(m, vcpu, program, false);
    return;
  }
  const cr8 = cr8At(m, program);
  const fault = cr8 > 0xf;
  if (!fault) yield* kvm_lapic_set_tpr(m, vcpu, cr8);
  complete(m, vcpu, program, fault);
});

const handle_apic_access = kvm(
  vmx,
  function* handle_apic_access(m: Machine, vcpu: number, program: Program) {
    const vmcs = currentVmcs(m, vcpu);
    m.vcpu[vcpu]!.stat.apic_access_exits++;
    const offset = vmcs.exit_qualification & 0xfff;
    const type = (vmcs.exit_qualification >>> 12) & 0xf;
    // What is stored does not matter for an EOI: the instruction need not be decoded.
    if (offset === APIC_EOI && type === LINEAR_WRITE && memoryAccessAt(m, program) !== undefined) {
      yield* kvm_lapic_set_eoi(m, vcpu);
      skipInstruction(m, program);
    } else {
      yield* x86_emulate_instruction(m, vcpu, program);
    }
  },
);

const handle_ept_violation = kvm(
  vmx,
  function* handle_ept_violation(m: Machine, vcpu: number, program: Program) {
    m.vcpu[vcpu]!.stat.ept_violations++;
    const { guest_physical_address: gpa } = currentVmcs(m, vcpu);
    const result: number = m.vcpu[vcpu]!.guest_mode
      ? yield* ept_page_fault(m, vcpu, gpa)
      : yield* kvm_tdp_page_fault(m, vcpu, gpa);
    if (result === RET_PF.EMULATE) yield* x86_emulate_instruction(m, vcpu, program);
    if (result < 0) m.actor[m.current]!.errno = result;
  },
);

/** L2 has met an entry that says "no memory", or one that is no longer true. */
const handle_ept_misconfig = kvm(
  vmx,
  function* handle_ept_misconfig(m: Machine, vcpu: number, program: Program) {
    const { guest_physical_address: gpa } = currentVmcs(m, vcpu);
    const result: number = yield* handle_mmio_page_fault(m, vcpu, gpa);
    if (result === RET_PF.EMULATE) yield* x86_emulate_instruction(m, vcpu, program);
    if (result === RET_PF.INVALID) yield* handle_ept_violation(m, vcpu, program);
  },
);

/** A window is open: the control has done its work. */
function* closeWindow(m: Machine, vcpu: number, control: number): Body<void> {
  yield m.step('clear control {control}: the window is open; make EVENT', control);
  currentVmcs(m, vcpu).cpu_based_vm_exec_control.clear(control);
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
}

const handle_interrupt_window = kvm(
  vmx,
  function* handle_interrupt_window(m: Machine, vcpu: number) {
    m.vcpu[vcpu]!.stat.irq_window_exits++;
    yield* closeWindow(m, vcpu, cpuControl.INTR_WINDOW);
  },
);

const handle_nmi_window = kvm(vmx, function* handle_nmi_window(m: Machine, vcpu: number) {
  yield* closeWindow(m, vcpu, cpuControl.NMI_WINDOW);
});

/** The exit while L2 ran, or in a kernel without the fast path for it. */
const handle_preemption_timer = kvm(
  vmx,
  function* handle_preemption_timer(m: Machine, vcpu: number) {
    yield* kvm_lapic_expired_hv_timer(m, vcpu);
  },
);

const handle_tpr_below_threshold = kvm(
  vmx,
  function* handle_tpr_below_threshold(m: Machine, vcpu: number) {
    yield* apic_update_ppr(m, vcpu);
  },
);

const handle_apic_eoi_induced = kvm(
  vmx,
  function* handle_apic_eoi_induced(m: Machine, vcpu: number) {
    yield* kvm_apic_set_eoi_accelerated(m, vcpu, currentVmcs(m, vcpu).exit_qualification & 0xff);
  },
);

const handle_apic_write = kvm(vmx, function* handle_apic_write(m: Machine, vcpu: number) {
  yield* kvm_apic_write_nodecode(m, vcpu, currentVmcs(m, vcpu).exit_qualification & 0xff0);
});

/** #UD: RSM of a guest that KVM has put into SMM. @omits other exceptions, and NMIs of the host */
const handle_exception_nmi = kvm(
  vmx,
  function* handle_exception_nmi(m: Machine, vcpu: number, program: Program) {
    yield m.step('#UD: is it an instruction that KVM emulates?');
    currentVmcs(m, vcpu).vm_exit_intr_info = 0;
    yield* x86_emulate_instruction(m, vcpu, program);
  },
);

/** 0 asks user space; a handler that gives nothing lets the guest go on. */
type Handle = (m: Machine, vcpu: number, program: Program) => Steps<unknown>;

/** An external interrupt has done its work by causing the exit: it has no handler here. */
const kvm_vmx_exit_handlers: Readonly<Record<number, Handle>> = {
  [exitReason.EXCEPTION_NMI]: handle_exception_nmi,
  [exitReason.INTERRUPT_WINDOW]: handle_interrupt_window,
  [exitReason.NMI_WINDOW]: handle_nmi_window,
  [exitReason.CPUID]: kvm_emulate_cpuid,
  [exitReason.HLT]: kvm_emulate_halt,
  [exitReason.VMCALL]: kvm_emulate_hypercall,
  ...vmxInstructionHandlers,
  [exitReason.CR_ACCESS]: handle_cr,
  [exitReason.RDMSR]: kvm_emulate_rdmsr,
  [exitReason.WRMSR]: kvm_emulate_wrmsr,
  [exitReason.TPR_BELOW_THRESHOLD]: handle_tpr_below_threshold,
  [exitReason.APIC_ACCESS]: handle_apic_access,
  [exitReason.EOI_INDUCED]: handle_apic_eoi_induced,
  [exitReason.EPT_VIOLATION]: handle_ept_violation,
  [exitReason.EPT_MISCONFIG]: handle_ept_misconfig,
  [exitReason.PREEMPTION_TIMER]: handle_preemption_timer,
  [exitReason.APIC_WRITE]: handle_apic_write,
};

const isFailedEntry = (reason: number): boolean =>
  reason === exitReason.VMFAIL || reason === exitReason.INVALID_GUEST_STATE;

/** 1 to go on, 0 to return to user space. */
export const vmx_handle_exit = kvm(
  vmx,
  function* vmx_handle_exit(m: Machine, vcpu: number, reason: number, program: Program) {
    if (m.vcpu[vcpu]!.guest_mode) {
      yield* nested_mark_vmcs12_pages_dirty(m, vcpu);
      if (yield* nested_vmx_reflect_vmexit(m, vcpu, reason, program)) return 1;
    }
    if (isFailedEntry(reason)) {
      m.vcpu[vcpu]!.exit_reason = kvmExit.FAIL_ENTRY;
      return 0;
    }
    const handle = kvm_vmx_exit_handlers[reason];
    if (handle === undefined) return 1;
    const result: unknown = yield* handle(m, vcpu, program);
    // KVM_RUN has failed.
    if (m.actor[m.current]!.errno < 0) return 0;
    return result === 0 || m.vcpu[vcpu]!.exit_reason === kvmExit.MMIO ? 0 : 1;
  },
);
