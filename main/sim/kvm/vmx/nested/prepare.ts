/** vmcs02 out of vmcs01 and vmcs12, as far as interrupts and the APIC are concerned. */
import { primaryOn, secondaryOn } from '../../../hw/vmcs.ts';
import { POSTED_INTR_NESTED_VECTOR } from '../../../state/pi_desc.ts';
import {
  activityState,
  cpuControl,
  exitControl,
  pinControl,
  secondaryControl,
} from '../../../state/vmcs.ts';
import { kvm, type Machine } from '../../../steps.ts';
import { nested_vmx_prepare_msr_bitmap } from './msr_bitmap.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

const bit = (index: number): number => 2 ** index;
const without = (word: number, ...bits: readonly number[]): number =>
  bits.reduce((rest, index) => (rest & ~(1 << index)) >>> 0, word);

/** APIC controls that come from vmcs12 alone. */
const fromL1: readonly number[] = [
  secondaryControl.VIRTUALIZE_APIC_ACCESSES,
  secondaryControl.VIRTUALIZE_X2APIC_MODE,
  secondaryControl.APIC_REGISTER_VIRT,
  secondaryControl.VIRTUAL_INTR_DELIVERY,
];

/** What never changes. @kvm nested.c: prepare_vmcs02_constant_state */
const constantState = (m: Machine, vcpu: number): void => {
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  vmcs02.posted_intr_nv = POSTED_INTR_NESTED_VECTOR;
  nested.vmcs02_initialized = true;
};

const pinControls = (m: Machine, vcpu: number): number => {
  const { vmcs01, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  const l0 = without(vmcs01.pin_based_vm_exec_control.word(0), pinControl.POSTED_INTR);
  const l1 = without(vmcs12.pin_based_vm_exec_control.word(0), pinControl.PREEMPTION_TIMER);
  return (l0 | l1) >>> 0;
};

const cpuControls = (m: Machine, vcpu: number): number => {
  const { vmcs01, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  const l0 = without(
    vmcs01.cpu_based_vm_exec_control.word(0),
    cpuControl.INTR_WINDOW,
    cpuControl.NMI_WINDOW,
    cpuControl.TPR_SHADOW,
    cpuControl.TERTIARY,
  );
  const word = (l0 | vmcs12.cpu_based_vm_exec_control.word(0)) >>> 0;
  const shadow = primaryOn(vmcs12, cpuControl.TPR_SHADOW);
  return shadow ? word : (word | bit(cpuControl.CR8_LOAD) | bit(cpuControl.CR8_STORE)) >>> 0;
};

const secondaryControls = (m: Machine, vcpu: number): number => {
  const { vmcs01, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  let word = without(vmcs01.secondary_vm_exec_control.word(0), ...fromL1);
  for (const index of fromL1) if (secondaryOn(vmcs12, index)) word = (word | bit(index)) >>> 0;
  return word;
};

/** Controls: before the pages, so that what they lack can be switched off. vmcs02 is loaded. */
export const prepare_vmcs02_early = kvm(
  file,
  function* prepare_vmcs02_early(m: Machine, vcpu: number) {
    const { vmcs02, nested } = m.vcpu[vcpu]!;
    const { cached_vmcs12: vmcs12 } = nested;
    if (!nested.vmcs02_initialized) constantState(m, vcpu);
    vmcs02.virtual_processor_id = nested.vpid02;
    yield m.step('pi_pending = false; posted_intr_nv as vmcs12 says');
    nested.pi_pending = false;
    const posted = vmcs12.pin_based_vm_exec_control.has(pinControl.POSTED_INTR);
    nested.posted_intr_nv = posted ? vmcs12.posted_intr_nv : -1;
    yield m.step('VMWRITE the controls of vmcs02');
    vmcs02.pin_based_vm_exec_control.setWord(0, pinControls(m, vcpu));
    vmcs02.vm_exit_controls.setWord(0, bit(exitControl.ACK_INTR_ON_EXIT));
    nested.l1_tpr_threshold = -1;
    if (primaryOn(vmcs12, cpuControl.TPR_SHADOW)) vmcs02.tpr_threshold = vmcs12.tpr_threshold;
    vmcs02.cpu_based_vm_exec_control.setWord(0, cpuControls(m, vcpu));
    vmcs02.secondary_vm_exec_control.setWord(0, secondaryControls(m, vcpu));
    if (secondaryOn(vmcs12, secondaryControl.VIRTUAL_INTR_DELIVERY)) {
      vmcs02.guest_intr_status = vmcs12.guest_intr_status;
    }
    const event = nested.nested_run_pending ? vmcs12.vm_entry_intr_info_field : 0;
    vmcs02.vm_entry_intr_info = event;
    const merged: boolean = yield* nested_vmx_prepare_msr_bitmap(m, vcpu);
    const { cpu_based_vm_exec_control: cpu } = vmcs02;
    if (merged) cpu.set(cpuControl.MSR_BITMAPS);
    else cpu.clear(cpuControl.MSR_BITMAPS);
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
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  yield m.step('VMWRITE the guest state of vmcs02');
  if (nested.dirty_vmcs12) rareState(m, vcpu);
  vmcs02.guest_interruptibility = vmcs12.guest_interruptibility_info;
  // L2 in HLT is halted inside KVM: the CPU runs it as active.
  vmcs02.guest_activity_state = activityState.ACTIVE;
});
