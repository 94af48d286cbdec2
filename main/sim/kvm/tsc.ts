/** The time-stamp counter of the guest, from that of the host. */
import { cyclesOf, rdtsc } from '../hw/tsc.ts';
import type { Machine } from '../steps.ts';

const modulus = 2 ** 53;

/** @kvm arch/x86/kvm/x86.h: nsec_to_cycles @omits the rounding of the kernel's multiplier */
export const nsec_to_cycles = cyclesOf;

/** What the guest reads. @kvm arch/x86/kvm/x86.c */
export const kvm_read_l1_tsc = (m: Machine): number => (rdtsc(m) + m.vm.tsc_offset) % modulus;
