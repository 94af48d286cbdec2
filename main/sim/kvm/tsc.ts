/** The time-stamp counter of the guest, from the clock of the host. */
import type { Machine } from '../steps.ts';

const nsPerMs = 1_000_000;
const modulus = 2 ** 53;

/** value · by / over, rounded down, without leaving the 53 bits of a number. */
const scaled = (value: number, by: number, over: number): number =>
  Math.floor(value / over) * by + Math.floor(((value % over) * by) / over);

/** @kvm arch/x86/kvm/x86.h: nsec_to_cycles @omits the rounding of the kernel's multiplier */
export const nsec_to_cycles = (m: Machine, ns: number): number => scaled(ns, m.vm.tsc_khz, nsPerMs);

/** The nanoseconds of so many cycles of the guest. */
export const cyclesToNs = (m: Machine, cycles: number): number =>
  scaled(cycles, nsPerMs, m.vm.tsc_khz);

/** The host's own counter; it runs as fast as the guest's. */
export const rdtsc = (m: Machine): number => nsec_to_cycles(m, m.vm.now);

/** What the guest reads. @kvm arch/x86/kvm/x86.c */
export const kvm_read_l1_tsc = (m: Machine): number => (rdtsc(m) + m.vm.tsc_offset) % modulus;
