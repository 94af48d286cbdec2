/** The virtual-APIC page as the CPU reads and writes it, and the pages that it stands for. */

import { hpa_to_pfn } from '../state/machine.ts';
import { loadedVmcs } from '../state/vcpu.ts';
import { secondaryControl } from '../state/vmcs.ts';
import type { Machine } from '../steps.ts';
import { readFrame, writeFrame } from './memory.ts';
import { currentVmcs, secondaryOn } from './vmcs.ts';

/** Does the CPU treat an access to this frame as an APIC access? @sdm 30.4.1 */
export const isApicAccess = (m: Machine, vcpu: number, pfn: number): boolean => {
  const vmcs = currentVmcs(m, vcpu);
  return (
    secondaryOn(vmcs, secondaryControl.VIRTUALIZE_APIC_ACCESSES) &&
    hpa_to_pfn(vmcs.apic_access_addr) === pfn
  );
};

/** The frame of the virtual-APIC page: other CPUs may write it at any time. */
export const virtualApicFrame = (m: Machine, vcpu: number): number =>
  hpa_to_pfn(currentVmcs(m, vcpu).virtual_apic_page_addr);

export const readVirtualApic = (m: Machine, vcpu: number, offset: number): number =>
  readFrame(m, virtualApicFrame(m, vcpu), offset);

/** Bookkeeping of the checks: no write protection of the EPT sees these writes. */
const noteWritten = (m: Machine, vcpu: number): void => {
  const target = m.vcpu[vcpu]!;
  if (target.loaded_vmcs !== loadedVmcs.VMCS02) return;
  if (!target.spec.vapic_written) target.spec.vapic_written = true;
};

export const writeVirtualApic = (m: Machine, vcpu: number, offset: number, value: number): void => {
  noteWritten(m, vcpu);
  writeFrame(m, virtualApicFrame(m, vcpu), offset, value);
};

const wordsOfVectors = 8;

/** Offset of the word that holds a vector's bit: 32 vectors in every 16 bytes. */
export const offsetOfVector = (register: number, vector: number): number =>
  register + (vector >>> 5) * 16;

/** Sets a vector's bit in VIRR or VISR, without losing what others set in the same word. */
export const setVector = (m: Machine, vcpu: number, register: number, vector: number): void => {
  const offset = offsetOfVector(register, vector);
  const pfn = virtualApicFrame(m, vcpu);
  noteWritten(m, vcpu);
  writeFrame(m, pfn, offset, readFrame(m, pfn, offset) | (1 << (vector & 31)));
};

export const clearVector = (m: Machine, vcpu: number, register: number, vector: number): void => {
  const offset = offsetOfVector(register, vector);
  const pfn = virtualApicFrame(m, vcpu);
  noteWritten(m, vcpu);
  writeFrame(m, pfn, offset, readFrame(m, pfn, offset) & ~(1 << (vector & 31)));
};

/** The highest vector of VIRR or VISR; 0 stands for none, as in RVI and SVI. */
export const highestVector = (m: Machine, vcpu: number, register: number): number => {
  const pfn = virtualApicFrame(m, vcpu);
  for (let i = wordsOfVectors - 1; i >= 0; i--) {
    const word = readFrame(m, pfn, register + i * 16);
    if (word !== 0) return i * 32 + 31 - Math.clz32(word);
  }
  return 0;
};
