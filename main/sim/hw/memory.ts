/** Host memory as the CPU sees it: what an access to a frame reaches. */
import { firstFrame } from '../state/machine.ts';
import { baseOf, type Machine } from '../steps.ts';

/**
 * The arena word behind a byte of a frame. The register page of vCPU i is frame `firstFrame + i`
 * and lives in `vcpu[i].apic`; every other frame has its own bytes.
 */
export const wordOfFrame = (m: Machine, pfn: number, offset: number): number => {
  const owner = pfn - firstFrame;
  const base = owner < m.vcpu.length ? baseOf(m.vcpu[owner]!.apic) : m.frame[pfn]!.data.firstWord;
  return base + (offset >>> 2);
};

/** Reads 4 bytes of host memory. */
export const readFrame = (m: Machine, pfn: number, offset: number): number =>
  m.arena.load(wordOfFrame(m, pfn, offset));

/** Writes 4 bytes of host memory; a write to a freed frame is counted. */
export const writeFrame = (m: Machine, pfn: number, offset: number, value: number): void => {
  if (m.frame[pfn]!.freed) m.vm.spec.freed_frame_writes++;
  m.arena.store(wordOfFrame(m, pfn, offset), value >>> 0);
};
