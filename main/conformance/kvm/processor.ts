// What the processor does with L1's virtual interrupts while APICv is active, between two
// operations of a case: the guest is entered, takes an interrupt or ends one, and is left.

import {
  eoiVirtualization,
  evaluatePendingInterrupts,
  pprVirtualization,
  virtualInterruptDelivery,
} from '#sim/hw/virtual_interrupts.ts';
import { rviOf } from '#sim/hw/vmcs.ts';
import type { Bench } from '../adapter.ts';
import { done } from './functions.ts';

/** Delivers the virtual interrupt that is pending at VM entry; −1 if none is. */
export function deliverVirtualInterrupt({ m }: Bench, vcpu: number): number {
  const { guest, vmcs01 } = m.vcpu[vcpu]!;
  done(m, vcpu, pprVirtualization(m, vcpu));
  evaluatePendingInterrupts(m, vcpu);
  if (!guest.virtual_interrupt_pending) return -1;
  const vector = rviOf(vmcs01);
  done(m, vcpu, virtualInterruptDelivery(m, vcpu, []));
  // The cases have no handlers: an interrupt is over with its EOI, and others may come before.
  guest.in_service_program = 0;
  return vector;
}

/** The guest ends its interrupt without an exit. */
export const virtualEoi = ({ m }: Bench, vcpu: number): void => {
  done(m, vcpu, eoiVirtualization(m, vcpu));
};
