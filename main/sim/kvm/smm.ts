/** System-management mode, as far as events care: what SMIs interrupt, and what waits for RSM. */
import { smiHandlerOf } from '../hw/guest_program.ts';
import { currentVmcs } from '../hw/vmcs.ts';
import { KVM_REQ } from '../state/requests.ts';
import { interruptibility, interruptShadow } from '../state/vmcs.ts';
import { kvm, type Machine } from '../steps.ts';
import { kvm_make_request } from './kvm_main.ts';
import { vmx_set_nmi_mask } from './vmx/blocked.ts';
import { vmx_enter_smm, vmx_leave_smm } from './vmx/smm.ts';

const file = 'arch/x86/kvm/smm.c';

/** Handler of SMI. */
export const process_smi = kvm(file, function* process_smi(m: Machine, vcpu: number) {
  yield m.step('smi_pending = true; make EVENT');
  m.vcpu[vcpu]!.smi_pending = true;
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
});

/** Blocking by STI and MOV SS. @kvm arch/x86/kvm/vmx/vmx.c: vmx_set_interrupt_shadow */
const setShadow = (m: Machine, vcpu: number, shadow: number): void => {
  const vmcs = currentVmcs(m, vcpu);
  vmcs.guest_interruptibility = (vmcs.guest_interruptibility & ~interruptShadow) | shadow;
};

/**
 * The guest goes on in its SMI handler, with interrupts off and NMIs masked; SMRAM keeps where it
 * was. The handler belongs to L1: an L2 that the SMI interrupts is left.
 * @omits registers that interrupts do not care for; the address space of SMM
 */
export const enter_smm = kvm(file, function* enter_smm(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const { guest, smram } = target;
  yield m.step('save the state in SMRAM');
  smram.pc = m.actor[vcpu]!.pc;
  smram.rflags_if = guest.rflags_if;
  smram.int_shadow = currentVmcs(m, vcpu).guest_interruptibility & interruptShadow;
  yield* vmx_enter_smm(m, vcpu);
  yield m.step('in_smm = true');
  target.in_smm = true;
  yield m.step('mask NMIs; remember whether they were masked before');
  const { guest_interruptibility: blocking } = currentVmcs(m, vcpu);
  target.smm_inside_nmi_mask = (blocking & interruptibility.NMI) !== 0;
  vmx_set_nmi_mask(m, vcpu, true);
  yield m.step('interrupts off; go on in the SMI handler');
  setShadow(m, vcpu, 0);
  guest.rflags_if = false;
  guest.smis++;
  m.actor[vcpu]!.pc = smiHandlerOf(m.config.actors[vcpu]!.program);
});

/** RSM: what came meanwhile, an INIT above all, is looked at before the next entry. */
export const emulator_leave_smm = kvm(file, function* emulator_leave_smm(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const { guest, smram } = target;
  yield m.step('NMIs are as they were before the SMI');
  if (!target.smm_inside_nmi_mask) vmx_set_nmi_mask(m, vcpu, false);
  yield m.step('in_smm = false; make EVENT');
  target.in_smm = false;
  target.smm_inside_nmi_mask = false;
  kvm_make_request(m, vcpu, KVM_REQ.EVENT);
  yield* vmx_leave_smm(m, vcpu);
  yield m.step('restore the state from SMRAM');
  setShadow(m, vcpu, smram.int_shadow);
  guest.rflags_if = smram.rflags_if;
  m.actor[vcpu]!.pc = smram.pc;
});
