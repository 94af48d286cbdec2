/** Which x2APIC MSRs L1 may access without an exit. */
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
} from '../../state/apicdef.ts';
import { secondaryControl } from '../../state/vmcs.ts';
import type { Machine } from '../../steps.ts';
import { lvt } from '../lapic/page.ts';

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

type Words = { word(index: number): number; setWord(index: number, value: number): void };

/** Everything is intercepted but what `passed` has. */
const intercept = (bitmap: Words, passed: readonly number[]): void => {
  for (let i = 0; i < 8; i++) {
    const word = ~(passed[i] ?? 0) >>> 0;
    if (bitmap.word(i) !== word) bitmap.setWord(i, word);
  }
};

/** Rebuilds the x2APIC part of the bitmap of vmcs01. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_update_msr_bitmap_x2apic = (m: Machine, vcpu: number): void => {
  const { apic, vmcs01, msr_bitmap } = m.vcpu[vcpu]!;
  let [reads, writes] = [none, none];
  if (vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUALIZE_X2APIC_MODE)) {
    const cmci = apic.nr_lvt_entries > lvt.CMCI;
    [reads, writes] = !apic.apicv_active
      ? [tprAlone, tprAlone]
      : [cmci ? readableWithCmci : readableWords, m.vm.enable_ipiv ? writableWithIpiv : writable];
  }
  intercept(msr_bitmap.x2apic_read, reads);
  intercept(msr_bitmap.x2apic_write, writes);
};
