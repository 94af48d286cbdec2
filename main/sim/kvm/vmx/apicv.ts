/** The VMCS controls of APIC virtualization: APICv on and off, the mode of the APIC. */
import { inveptSingleContext } from '../../hw/tlb.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { cpuControl, pinControl, secondaryControl, tertiaryControl } from '../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { apic_x2apic_mode, kvm_apic_hw_enabled } from '../lapic/priority.ts';
import { vmx_update_msr_bitmap_x2apic } from './msr_bitmap.ts';
import { guardVmcs01, vmcsOfL1 } from './vmcs01.ts';

const file = 'arch/x86/kvm/vmx/vmx.c';

interface Controls {
  has(bit: number): boolean;
  set(bit: number): boolean;
  clear(bit: number): boolean;
}

const setControl = (controls: Controls, bit: number, on: boolean): void => {
  if (controls.has(bit) === on) return;
  if (on) controls.set(bit);
  else controls.clear(bit);
};

function* writeApicvControls(m: Machine, vcpu: number): Body<void> {
  yield m.step('VMWRITE the APICv controls and the MSR bitmap of vmcs01');
  const vmcs01 = vmcsOfL1(m, vcpu);
  const active = m.vcpu[vcpu]!.apic.apicv_active;
  const ipiv = active && m.vm.enable_ipiv;
  setControl(vmcs01.pin_based_vm_exec_control, pinControl.POSTED_INTR, active);
  setControl(vmcs01.secondary_vm_exec_control, secondaryControl.APIC_REGISTER_VIRT, active);
  setControl(vmcs01.secondary_vm_exec_control, secondaryControl.VIRTUAL_INTR_DELIVERY, active);
  if (ipiv) setControl(vmcs01.cpu_based_vm_exec_control, cpuControl.TERTIARY, true);
  setControl(vmcs01.tertiary_vm_exec_control, tertiaryControl.IPI_VIRT, ipiv);
  vmx_update_msr_bitmap_x2apic(m, vcpu);
}

/**
 * Can vmcs01 be written? While L2 runs another VMCS is loaded: only `k7.0` loads vmcs01 for the
 * moment.
 */
export const canWriteVmcs01 = (m: Machine, vcpu: number): boolean =>
  !m.vcpu[vcpu]!.guest_mode || m.switch('vmcs01-update-mode') === 'on-demand';

/** Makes the controls of vmcs01 agree with apicv_active. */
export const vmx_refresh_apicv_exec_ctrl = kvm(
  file,
  function* vmx_refresh_apicv_exec_ctrl(m: Machine, vcpu: number) {
    // APICv of a TD is never off (vt_refresh_apicv_exec_ctrl).
    if (m.vcpu[vcpu]!.apic.guest_apic_protected) return;
    if (canWriteVmcs01(m, vcpu)) {
      yield* guardVmcs01(m, vcpu, writeApicvControls(m, vcpu));
    } else if (m.switch('vmcs01-update-mode') !== 'drop') {
      yield m.step('L2 runs: vmcs01 follows when it ends');
      m.vcpu[vcpu]!.nested.update_vmcs01_apicv_status = true;
    }
  },
);

function* writeModeControls(m: Machine, vcpu: number): Body<void> {
  if (kvm_apic_hw_enabled(m, vcpu) && !apic_x2apic_mode(m, vcpu) && m.vm.flexpriority_enabled) {
    yield m.step('make APIC_PAGE_RELOAD');
    kvm_make_request(m, vcpu, KVM_REQ.APIC_PAGE_RELOAD);
    if (m.on('mode-switch-flush')) yield* flushOfL1(m, vcpu);
  }
  yield m.step('VMWRITE the controls of the APIC mode and the MSR bitmap of vmcs01');
  const { secondary_vm_exec_control: secondary } = vmcsOfL1(m, vcpu);
  const enabled = kvm_apic_hw_enabled(m, vcpu);
  const x2apic = enabled && apic_x2apic_mode(m, vcpu);
  const accesses = enabled && !x2apic && m.vm.flexpriority_enabled;
  setControl(secondary, secondaryControl.VIRTUALIZE_APIC_ACCESSES, accesses);
  setControl(secondary, secondaryControl.VIRTUALIZE_X2APIC_MODE, x2apic);
  vmx_update_msr_bitmap_x2apic(m, vcpu);
}

/**
 * While the control was off the guest may have cached a translation of 0xfee00000 that is no APIC
 * access. With L2 active the current context is that of L2: L1's is flushed by its root.
 */
function* flushOfL1(m: Machine, vcpu: number): Body<void> {
  const { guest_mode, root_mmu, cpu } = m.vcpu[vcpu]!;
  if (!guest_mode) {
    yield m.step('make TLB_FLUSH_CURRENT');
    kvm_make_request(m, vcpu, KVM_REQ.TLB_FLUSH_CURRENT);
  } else if (root_mmu.root >= 0) {
    yield m.step('flush the EP4TA of L1');
    inveptSingleContext(m, cpu, root_mmu.root);
  }
}

/** Chooses what the CPU virtualizes: accesses to the page, x2APIC MSRs, or neither. */
export const vmx_set_virtual_apic_mode = kvm(
  file,
  function* vmx_set_virtual_apic_mode(m: Machine, vcpu: number) {
    if (!canWriteVmcs01(m, vcpu)) {
      if (m.switch('vmcs01-update-mode') === 'drop') return;
      yield m.step('L2 runs: vmcs01 follows when it ends');
      m.vcpu[vcpu]!.nested.change_vmcs01_virtual_apic_mode = true;
      return;
    }
    yield* guardVmcs01(m, vcpu, writeModeControls(m, vcpu));
  },
);

/** RESET, INIT and KVM_SET_LAPIC: what was posted before is dropped. */
export const vmx_apicv_pre_state_restore = kvm(
  file,
  function* vmx_apicv_pre_state_restore(m: Machine, vcpu: number) {
    if (!m.on('pir-drop-on-restore')) return;
    const { pi_desc, spec } = m.vcpu[vcpu]!;
    yield m.step('clear ON');
    if (pi_desc.on) pi_desc.on = false;
    spec.harvesting++;
    yield m.step('PIR = 0');
    pi_desc.pir.clearAll();
    spec.harvesting--;
  },
);
