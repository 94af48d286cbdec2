/** Registers of L1 and L2: where each goes on when the other stops. */
import type { Machine } from '../../../steps.ts';

const RFLAGS_IF = 1 << 9;

/** L1 stands at its VMLAUNCH or VMRESUME; L2 goes on where vmcs12 says. */
export const enterL2Registers = (m: Machine, vcpu: number): void => {
  const { guest, nested } = m.vcpu[vcpu]!;
  const { l1, cached_vmcs12: vmcs12 } = nested;
  const actor = m.actor[vcpu]!;
  l1.pc = actor.pc;
  l1.rflags_if = guest.rflags_if;
  l1.in_service_program = guest.in_service_program;
  actor.pc = vmcs12.guest_rip;
  guest.rflags_if = (vmcs12.guest_rflags & RFLAGS_IF) !== 0;
  guest.in_service_program = nested.l2_in_service_program;
};

/** What L2 has become goes into vmcs12. @kvm nested.c: sync_vmcs02_to_vmcs12 */
export const saveL2Registers = (m: Machine, vcpu: number): void => {
  const { guest, nested } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  const { pc } = m.actor[vcpu]!;
  if (vmcs12.guest_rip !== pc) vmcs12.guest_rip = pc;
  const others = vmcs12.guest_rflags & ~RFLAGS_IF;
  vmcs12.guest_rflags = guest.rflags_if ? others | RFLAGS_IF : others;
  nested.l2_in_service_program = guest.in_service_program;
};

/**
 * L1 as it was, behind its VMLAUNCH or VMRESUME: the entry has failed.
 * @kvm nested.c: nested_vmx_restore_host_state
 */
export const restoreL1Registers = (m: Machine, vcpu: number): void => {
  const { guest, nested } = m.vcpu[vcpu]!;
  const { l1 } = nested;
  m.actor[vcpu]!.pc = l1.pc;
  guest.rflags_if = l1.rflags_if;
  guest.in_service_program = l1.in_service_program;
};

/**
 * L1 goes on behind its VMLAUNCH or VMRESUME, with interrupts off as after every VM exit.
 * @kvm nested.c: load_vmcs12_host_state
 * @omits HOST_RIP: the exit handler of L1 is what its program has there
 */
export const enterL1Registers = (m: Machine, vcpu: number): void => {
  restoreL1Registers(m, vcpu);
  m.vcpu[vcpu]!.guest.rflags_if = false;
};
