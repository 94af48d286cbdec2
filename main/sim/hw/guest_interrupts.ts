/** Events through the IDT of the guest: when they can be taken, and what happens then. */

import type { Program } from '../state/program.ts';
import { activityState, interruptShadow } from '../state/vmcs.ts';
import type { Machine } from '../steps.ts';
import { handlerOf } from './guest_program.ts';
import { currentVmcs, type VmcsView } from './vmcs.ts';

const setActivity = (vmcs: VmcsView, state: number): void => {
  if (vmcs.guest_activity_state !== state) vmcs.guest_activity_state = state;
};

/** Could the guest take an interrupt now? */
export const interruptsOpen = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.guest.rflags_if &&
  (currentVmcs(m, vcpu).guest_interruptibility & interruptShadow) === 0;

/** The instruction behind STI or MOV SS begins: the next boundary is an ordinary one. */
export const endShadow = (vmcs: VmcsView): void => {
  const blocked = vmcs.guest_interruptibility;
  if ((blocked & interruptShadow) !== 0) vmcs.guest_interruptibility = blocked & ~interruptShadow;
};

export const halt = (vmcs: VmcsView): void => setActivity(vmcs, activityState.HLT);

/**
 * An interrupt through a gate that turns interrupts off; it ends HLT.
 * @omits handlers that are interrupted themselves: they run with interrupts off to their IRET
 */
export const takeInterrupt = (m: Machine, vcpu: number, vector: number, program: Program): void => {
  const { guest } = m.vcpu[vcpu]!;
  const actor = m.actor[m.current]!;
  guest.delivered[guest.delivered_count % guest.delivered.length]!.vector = vector;
  guest.delivered_count++;
  guest.rflags_if = false;
  setActivity(currentVmcs(m, vcpu), activityState.ACTIVE);
  if (guest.in_service_program !== 0) {
    throw new Error('model: an interrupt handler of the guest was interrupted; leave out its sti');
  }
  guest.in_service_program = actor.pc + 1;
  actor.pc = handlerOf(program);
};

/** The handler of an NMI is over at once: nothing in the model depends on what it does. */
export const takeNmi = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.guest.nmis++;
  setActivity(currentVmcs(m, vcpu), activityState.ACTIVE);
};

/** The end of the handler; interrupts were on when it was entered. */
export const returnFromInterrupt = (m: Machine, vcpu: number): void => {
  const { guest } = m.vcpu[vcpu]!;
  if (guest.in_service_program === 0) {
    throw new Error('model: IRET without an interrupt; write it into the handler only');
  }
  m.actor[m.current]!.pc = guest.in_service_program - 1;
  guest.in_service_program = 0;
  guest.rflags_if = true;
};
