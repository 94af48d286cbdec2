/** The time-stamp counter of the CPUs, from the clock of the host. */
import type { Machine } from '../steps.ts';

const nsPerMs = 1_000_000;

/** value · by / over, rounded down, without leaving the 53 bits of a number. */
const scaled = (value: number, by: number, over: number): number =>
  Math.floor(value / over) * by + Math.floor(((value % over) * by) / over);

/** The cycles of so many nanoseconds, and back. */
export const cyclesOf = (m: Machine, ns: number): number => scaled(ns, m.vm.tsc_khz, nsPerMs);
export const cyclesToNs = (m: Machine, cycles: number): number =>
  scaled(cycles, nsPerMs, m.vm.tsc_khz);

/** The host's own counter; it runs as fast as the guest's, and all CPUs have the same. */
export const rdtsc = (m: Machine): number => cyclesOf(m, m.vm.now);
