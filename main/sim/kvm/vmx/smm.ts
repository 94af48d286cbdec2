/** What VMX has to do with SMM: a hypervisor guest is out of VMX operation there. */
import { currentVmcs } from '../../hw/vmcs.ts';
import { activityState } from '../../state/vmcs.ts';
import { kvm, type Machine } from '../../steps.ts';
import { restoreL1Registers } from './nested/guest_state.ts';
import { nested_vmx_enter_non_root_mode } from './nested/run.ts';
import { __nested_vmx_vmexit, exitTo, NO_EXIT } from './nested/vmexit.ts';

const file = 'arch/x86/kvm/vmx/vmx.c';

/** L2 ends, of which L1 is told nothing; RSM goes back to it. */
export const vmx_enter_smm = kvm(file, function* vmx_enter_smm(m: Machine, vcpu: number) {
  const { nested, guest_mode } = m.vcpu[vcpu]!;
  yield m.step('does the SMI interrupt L2?');
  nested.smm_guest_mode = guest_mode;
  if (guest_mode) yield* __nested_vmx_vmexit(m, vcpu, exitTo(NO_EXIT));
  yield m.step('in SMM there is no VMX operation; HLT is over');
  nested.smm_vmxon = nested.vmxon;
  nested.vmxon = false;
  const vmcs = currentVmcs(m, vcpu);
  if (vmcs.guest_activity_state === activityState.HLT) {
    vmcs.guest_activity_state = activityState.ACTIVE;
  }
});

/**
 * RSM: back into VMX operation, and into L2, as after a restore: its pages wait for a request.
 * @omits that a vmcs12 which is fit no more shuts the guest down
 */
export const vmx_leave_smm = kvm(file, function* vmx_leave_smm(m: Machine, vcpu: number) {
  const { nested } = m.vcpu[vcpu]!;
  yield m.step('was there VMX operation; was there an L2?');
  if (nested.smm_vmxon) {
    nested.vmxon = true;
    nested.smm_vmxon = false;
  }
  if (!nested.smm_guest_mode) return;
  // L1 stands where it was when the SMI came: behind its VMLAUNCH or VMRESUME.
  restoreL1Registers(m, vcpu);
  yield* nested_vmx_enter_non_root_mode(m, vcpu, false);
  yield m.step('nested_run_pending = 1: the entry of RSM has to take place');
  nested.nested_run_pending = true;
  nested.smm_guest_mode = false;
});
