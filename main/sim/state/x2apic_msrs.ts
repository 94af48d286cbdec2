/** Which x2APIC MSRs the guest may access without an exit, by what the CPU virtualizes. */
import {
  APIC_EOI,
  APIC_ESR,
  APIC_ICR,
  APIC_ID,
  APIC_IRR,
  APIC_ISR,
  APIC_LDR,
  APIC_LVR,
  APIC_LVT0,
  APIC_LVT1,
  APIC_LVTCMCI,
  APIC_LVTERR,
  APIC_LVTPC,
  APIC_LVTT,
  APIC_LVTTHMR,
  APIC_PROCPRI,
  APIC_SELF_IPI,
  APIC_SPIV,
  APIC_TASKPRI,
  APIC_TDCR,
  APIC_TMICT,
  APIC_TMR,
} from './apicdef.ts';

/** Eight registers of 32 vectors each. */
const vectorRegisters = (offset: number): number[] =>
  Array.from({ length: 8 }, (_, word) => offset + 16 * word);

/** What can be read in x2APIC mode, but for the current count, which has to be computed. */
const readable: readonly number[] = [
  ...[APIC_ID, APIC_LVR, APIC_TASKPRI, APIC_PROCPRI, APIC_LDR, APIC_SPIV],
  ...[APIC_ISR, APIC_TMR, APIC_IRR].flatMap(vectorRegisters),
  ...[APIC_ESR, APIC_ICR, APIC_LVTT, APIC_LVTTHMR, APIC_LVTPC, APIC_LVT0, APIC_LVT1, APIC_LVTERR],
  ...[APIC_TMICT, APIC_TDCR],
];

/** 64 registers. */
const registerWords = 2;

/** The registers at these offsets as words of a bitmap: the MSR is 0x800 + offset / 16. */
const wordsOf = (offsets: readonly number[]): readonly number[] => {
  const words = new Uint32Array(registerWords);
  for (const offset of offsets) words[offset >>> 9]! |= 1 << ((offset >>> 4) & 31);
  return [...words];
};

const none = wordsOf([]);
/** The TPR can be virtualized without virtual-interrupt delivery too. */
const tprAlone = wordsOf([APIC_TASKPRI]);
const readableWords = wordsOf(readable);
const readableWithCmci = wordsOf([...readable, APIC_LVTCMCI]);
const writable = wordsOf([APIC_TASKPRI, APIC_EOI, APIC_SELF_IPI]);
const writableWithIpiv = wordsOf([APIC_TASKPRI, APIC_EOI, APIC_SELF_IPI, APIC_ICR]);

/** What the answer depends on. */
export interface X2apicVirtualization {
  /** the CPU virtualizes x2APIC mode */
  readonly virtualized: boolean;
  readonly apicvActive: boolean;
  readonly ipiv: boolean;
  /** the APIC has an LVT entry for CMCI */
  readonly cmci: boolean;
}

/** Words of two bitmaps: bit n is MSR 0x800 + n, which does not exit. */
export interface PassedMsrs {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

export const passedX2apicMsrs = (what: X2apicVirtualization): PassedMsrs => {
  if (!what.virtualized) return { reads: none, writes: none };
  if (!what.apicvActive) return { reads: tprAlone, writes: tprAlone };
  return {
    reads: what.cmci ? readableWithCmci : readableWords,
    writes: what.ipiv ? writableWithIpiv : writable,
  };
};
