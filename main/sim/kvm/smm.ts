/** System-management mode, as far as events care: what SMIs interrupt, and what waits for RSM. */
import { smiHandlerOf } from '../hw/guest_program.ts';
import { KVM_REQ } from '../state/requests.ts';
import { activityState, interruptibility, interruptShadow } from '../state/vmcs.ts';
import { kvm, type Machine } from '../steps.ts';
import { kvm_make_request } from './kvm_main.ts';
import { vmx_set_nmi_mask } from './vmx/blocked.ts';

const file = 'arch/x86/kvm/smm.c';

/** Handler of SMI. */
export const process_smi = kvm(file, function* process_smi(m: Machine, vcpu: number) {
  yield m.step('smi_pending = true; make EVENT');
  m.vcpu[vcpu]!.smi_pending = true;
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
});

/**
 * The guest goes on in its SMI handler, with interrupts off and NMIs masked; SMRAM keeps where it
 * was.
 * @omits registers that interrupts do not care for; the address space of SMM; L2 that is left
 */
export const enter_smm = kvm(file, function* enter_smm(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const { guest, smram, vmcs01 } = target;
  yield m.step('save the state in SMRAM; in_smm = true');
  smram.pc = m.actor[vcpu]!.pc;
  smram.rflags_if = guest.rflags_if;
  smram.int_shadow = vmcs01.guest_interruptibility & interruptShadow;
  if (vmcs01.guest_activity_state === activityState.HLT) {
    vmcs01.guest_activity_state = activityState.ACTIVE;
  }
  target.in_smm = true;
  yield m.step('mask NMIs; remember whether they were masked before');
  target.smm_inside_nmi_mask = (vmcs01.guest_interruptibility & interruptibility.NMI) !== 0;
  vmx_set_nmi_mask(m, vcpu, true);
  yield m.step('interrupts off; go on in the SMI handler');
  vmcs01.guest_interruptibility &= ~interruptShadow;
  guest.rflags_if = false;
  guest.smis++;
  m.actor[vcpu]!.pc = smiHandlerOf(m.config.actors[vcpu]!.program);
});

/** RSM: what came meanwhile, an INIT above all, is looked at before the next entry. */
export const emulator_leave_smm = kvm(file, function* emulator_leave_smm(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const { guest, smram, vmcs01 } = target;
  yield m.step('NMIs are as they were before the SMI');
  if (!target.smm_inside_nmi_mask) vmx_set_nmi_mask(m, vcpu, false);
  yield m.step('in_smm = false; make EVENT');
  target.in_smm = false;
  target.smm_inside_nmi_mask = false;
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  yield m.step('restore the state from SMRAM');
  vmcs01.guest_interruptibility =
    (vmcs01.guest_interruptibility & ~interruptShadow) | smram.int_shadow;
  guest.rflags_if = smram.rflags_if;
  m.actor[vcpu]!.pc = smram.pc;
});
