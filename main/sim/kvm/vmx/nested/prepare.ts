/** vmcs02 out of vmcs01 and vmcs12, as far as interrupts and the APIC are concerned. */
import { maskOf, primaryOn, secondaryOn } from '../../../hw/vmcs.ts';
import { POSTED_INTR_NESTED_VECTOR } from '../../../state/pi_desc.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { activityState, cpuControl, pinControl, secondaryControl } from '../../../state/vmcs.ts';
import { kvm, type Machine } from '../../../steps.ts';
import { kvm_make_request } from '../../kvm_main.ts';
import { markClean, nested_vmx_is_evmptr12_valid } from './evmcs.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

const without = (word: number, mask: number): number => (word & ~mask) >>> 0;

/** What vmcs02 does not take over from vmcs01, and what it does not from vmcs12. */
const notOfL0 = {
  pin: maskOf(pinControl.POSTED_INTR),
  cpu: maskOf(cpuControl.INTR_WINDOW, cpuControl.NMI_WINDOW, cpuControl.TPR_SHADOW),
  /** APIC controls that come from vmcs12 alone */
  secondary: maskOf(
    secondaryControl.VIRTUALIZE_APIC_ACCESSES,
    secondaryControl.VIRTUALIZE_X2APIC_MODE,
    secondaryControl.APIC_REGISTER_VIRT,
    secondaryControl.VIRTUAL_INTR_DELIVERY,
  ),
} as const;
const notOfL1 = maskOf(pinControl.PREEMPTION_TIMER);
const ownBitmaps = maskOf(cpuControl.IO_BITMAPS, cpuControl.MSR_BITMAPS);
const msrBitmaps = maskOf(cpuControl.MSR_BITMAPS);
const everyPort = maskOf(cpuControl.UNCOND_IO);
const everyCr8 = maskOf(cpuControl.CR8_LOAD, cpuControl.CR8_STORE);

/** What never changes. @kvm nested.c: prepare_vmcs02_constant_state */
const constantState = (m: Machine, vcpu: number): void => {
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  if (nested.vmcs02_initialized) return;
  nested.vmcs02_initialized = true;
  vmcs02.posted_intr_nv = POSTED_INTR_NESTED_VECTOR;
};

/** Has L1 changed what it seldom changes? Of an enlightened VMCS nobody has seen it written. */
const rareIsDue = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.nested.dirty_vmcs12 || nested_vmx_is_evmptr12_valid(m, vcpu);

/**
 * What L1 seldom changes, of what comes before the pages. Without VPIDs of L1 its L2 has that of
 * L1 itself.
 * @kvm nested.c: prepare_vmcs02_early_rare
 */
const earlyRareState = (m: Machine, vcpu: number): void => {
  const { vmcs01, vmcs02, nested } = m.vcpu[vcpu]!;
  constantState(m, vcpu);
  const own = secondaryOn(nested.cached_vmcs12, secondaryControl.VPID);
  vmcs02.virtual_processor_id = own ? nested.vpid02 : vmcs01.virtual_processor_id;
};

const pinControls = (m: Machine, vcpu: number): number => {
  const { vmcs01, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  const l0 = without(vmcs01.pin_based_vm_exec_control.word(0), notOfL0.pin);
  const l1 = without(vmcs12.pin_based_vm_exec_control.word(0), notOfL1);
  return (l0 | l1) >>> 0;
};

/**
 * "Use MSR bitmaps" stays as it is: the pages decide on it. Ports are never passed through. Of the
 * tertiary controls, which L1 is not offered, none is 1 in vmcs02.
 */
const cpuControls = (m: Machine, vcpu: number): number => {
  const { vmcs01, vmcs02, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  const l0 = without(vmcs01.cpu_based_vm_exec_control.word(0), notOfL0.cpu);
  const word = (l0 | vmcs12.cpu_based_vm_exec_control.word(0)) >>> 0;
  const bitmaps = primaryOn(vmcs02, cpuControl.MSR_BITMAPS) ? msrBitmaps : 0;
  const cr8 = primaryOn(vmcs12, cpuControl.TPR_SHADOW) ? 0 : everyCr8;
  return (without(word, ownBitmaps) | everyPort | bitmaps | cr8) >>> 0;
};

const secondaryControls = (m: Machine, vcpu: number): number => {
  const { vmcs01, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  const l0 = without(vmcs01.secondary_vm_exec_control.word(0), notOfL0.secondary);
  const active = primaryOn(vmcs12, cpuControl.SECONDARY);
  return active ? (l0 | vmcs12.secondary_vm_exec_control.word(0)) >>> 0 : l0;
};

/**
 * What an L2 before was notified of is over. A sender that comes so late looks again with
 * `nested-nv-redeliver`, and finds that this L2 has its notification.
 */
const forgetNotification = (m: Machine, vcpu: number, posted: boolean): void => {
  const { nested, spec } = m.vcpu[vcpu]!;
  if (!nested.pi_pending) return;
  if (posted && m.on('nested-nv-redeliver')) {
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    return;
  }
  nested.pi_pending = false;
  spec.nested_notified = false;
};

/** Controls: before the pages, so that what they lack can be switched off. vmcs02 is loaded. */
export const prepare_vmcs02_early = kvm(
  file,
  function* prepare_vmcs02_early(m: Machine, vcpu: number) {
    const { vmcs01, vmcs02, nested } = m.vcpu[vcpu]!;
    const { cached_vmcs12: vmcs12 } = nested;
    if (rareIsDue(m, vcpu)) earlyRareState(m, vcpu);
    yield m.step('pi_pending = false; posted_intr_nv as vmcs12 says');
    const posted = vmcs12.pin_based_vm_exec_control.has(pinControl.POSTED_INTR);
    forgetNotification(m, vcpu, posted);
    if (posted) nested.posted_intr_nv = vmcs12.posted_intr_nv;
    else if (m.on('nested-nv-invalidated')) nested.posted_intr_nv = -1;
    yield m.step('VMWRITE the controls of vmcs02');
    vmcs02.pin_based_vm_exec_control.setWord(0, pinControls(m, vcpu));
    nested.l1_tpr_threshold = -1;
    if (primaryOn(vmcs12, cpuControl.TPR_SHADOW)) vmcs02.tpr_threshold = vmcs12.tpr_threshold;
    vmcs02.cpu_based_vm_exec_control.setWord(0, cpuControls(m, vcpu));
    vmcs02.secondary_vm_exec_control.setWord(0, secondaryControls(m, vcpu));
    if (secondaryOn(vmcs12, secondaryControl.VIRTUAL_INTR_DELIVERY)) {
      vmcs02.guest_intr_status = vmcs12.guest_intr_status;
    }
    // The exit that the hardware makes is to KVM: it is as that of L1.
    vmcs02.vm_exit_controls.setWord(0, vmcs01.vm_exit_controls.word(0));
    const { nested_run_pending: entering } = nested;
    vmcs02.vm_entry_intr_info = entering ? vmcs12.vm_entry_intr_info_field : 0;
    // What blocks events of a restored L2 is restored on its own.
    if (entering) vmcs02.guest_interruptibility = vmcs12.guest_interruptibility_info;
  },
);

/** What L1 seldom changes: only where it has. */
const rareState = (m: Machine, vcpu: number): void => {
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  for (const half of [0, 1]) {
    vmcs02.eoi_exit_bitmap0.setWord(half, vmcs12.eoi_exit_bitmap0.word(half));
    vmcs02.eoi_exit_bitmap1.setWord(half, vmcs12.eoi_exit_bitmap1.word(half));
    vmcs02.eoi_exit_bitmap2.setWord(half, vmcs12.eoi_exit_bitmap2.word(half));
    vmcs02.eoi_exit_bitmap3.setWord(half, vmcs12.eoi_exit_bitmap3.word(half));
  }
  nested.dirty_vmcs12 = false;
};

/** Guest state: L2 is active when this runs. */
export const prepare_vmcs02 = kvm(file, function* prepare_vmcs02(m: Machine, vcpu: number) {
  const { vmcs02 } = m.vcpu[vcpu]!;
  yield m.step('VMWRITE the guest state of vmcs02');
  if (rareIsDue(m, vcpu)) rareState(m, vcpu);
  // L2 in HLT is halted inside KVM: the CPU runs it as active.
  vmcs02.guest_activity_state = activityState.ACTIVE;
  yield* markClean(m, vcpu);
});
