/** The task priority: TPR, CR8, and the threshold that makes the CPU exit when it drops. */
import { KVM_REQ } from '../../state/requests.ts';
import { cpuControl } from '../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { guardVmcs01, vmcsOfL1 } from '../vmx/vmcs01.ts';
import { apic_find_highest_irr, apic_update_ppr } from './priority.ts';

const file = 'arch/x86/kvm/lapic.c';

/** Tells user space of an access to the TPR, if it asked. @kvm arch/x86/kvm/lapic.c */
export const report_tpr_access = (m: Machine, vcpu: number): void => {
  if (!m.vcpu[vcpu]!.tpr_access_reporting) return;
  kvm_make_request(m, vcpu, KVM_REQ.REPORT_TPR_ACCESS);
};

/** KVM_TPR_ACCESS_REPORTING. @omits flags, which have to be 0 */
export const vcpu_ioctl_tpr_access_reporting = kvm(
  'arch/x86/kvm/x86.c',
  function* vcpu_ioctl_tpr_access_reporting(m: Machine, vcpu: number, enabled: boolean) {
    yield m.step('tpr_access_reporting = {enabled}', enabled ? 1 : 0);
    m.vcpu[vcpu]!.tpr_access_reporting = enabled;
    return 0;
  },
);

/** Writes the TPR and what follows from it. */
export const apic_set_tpr = kvm(
  file,
  function* apic_set_tpr(m: Machine, vcpu: number, value: number) {
    yield m.step('write TPR {value}', value);
    m.vcpu[vcpu]!.apic.tpr = value;
    yield* apic_update_ppr(m, vcpu);
  },
);

/** MOV to CR8. */
export const kvm_lapic_set_tpr = kvm(
  file,
  function* kvm_lapic_set_tpr(m: Machine, vcpu: number, cr8: number) {
    yield* apic_set_tpr(m, vcpu, (cr8 & 0x0f) << 4);
  },
);

/** MOV from CR8. @kvm arch/x86/kvm/lapic.c */
export const kvm_lapic_get_cr8 = (m: Machine, vcpu: number): number =>
  (m.vcpu[vcpu]!.apic.tpr & 0xf0) >>> 4;

function* writeThreshold(m: Machine, vcpu: number, threshold: number): Body<void> {
  yield m.step('VMWRITE TPR_THRESHOLD of vmcs01 = {threshold}', threshold);
  vmcsOfL1(m, vcpu).tpr_threshold = threshold;
}

/**
 * Lets the CPU exit when the guest lowers its TPR below the class of `irr` (−1: of nothing).
 * The threshold is that of L1: while L2 runs, `vmcs01-update-mode` says when vmcs01 gets it.
 */
const vmx_update_cr8_intercept = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_update_cr8_intercept(m: Machine, vcpu: number, tpr: number, irr: number) {
    const target = m.vcpu[vcpu]!;
    const { cpu_based_vm_exec_control: controls } = target.nested.cached_vmcs12;
    if (target.guest_mode && controls.has(cpuControl.TPR_SHADOW)) return;
    const threshold = irr === -1 || tpr < irr ? 0 : irr;
    if (!target.guest_mode || m.switch('vmcs01-update-mode') === 'on-demand') {
      yield* guardVmcs01(m, vcpu, writeThreshold(m, vcpu, threshold));
    } else if (m.switch('vmcs01-update-mode') === 'defer') {
      yield m.step('l1_tpr_threshold = {threshold}, for when L2 ends', threshold);
      target.nested.l1_tpr_threshold = threshold;
    }
  },
);

/** Before an entry without APICv: the threshold for what is pending. */
export const update_cr8_intercept = kvm(
  'arch/x86/kvm/x86.c',
  function* update_cr8_intercept(m: Machine, vcpu: number) {
    const { apic } = m.vcpu[vcpu]!;
    if (apic.apicv_active) return;
    yield m.step('find the highest vector in IRR');
    // With a vAPIC word the guest looks for itself.
    const vector = apic.vapic_addr === 0 ? apic_find_highest_irr(m, vcpu) : -1;
    const irr = vector === -1 ? -1 : vector >> 4;
    yield* vmx_update_cr8_intercept(m, vcpu, kvm_lapic_get_cr8(m, vcpu), irr);
  },
);
