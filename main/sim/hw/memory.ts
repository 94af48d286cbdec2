/** Physical memory as the CPU sees it: what an access to a frame reaches. */
import { vcpuOfPiDesc } from '../state/addresses.ts';
import { apicPageBytes } from '../state/lapic.ts';
import { firstFrame, hpa_to_pfn, PAGE_SIZE } from '../state/machine.ts';
import { baseOf, type Machine } from '../steps.ts';

/**
 * The arena word behind a byte of a frame. The register page of vCPU i is frame `firstFrame + i`:
 * its registers live in `vcpu[i].apic`, and what is behind them in the frame, like all other bytes.
 */
export const wordOfFrame = (m: Machine, pfn: number, offset: number): number => {
  const owner = pfn - firstFrame;
  const base =
    owner < m.vcpu.length && offset < apicPageBytes
      ? baseOf(m.vcpu[owner]!.apic)
      : m.frame[pfn]!.data.firstWord;
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

/** The low `width` bytes of a word, all of it from 4 on. */
const maskOf = (width: number): number => (width >= 4 ? 0xffff_ffff : 2 ** (8 * width) - 1);

/** Reads up to 4 bytes at any offset; those in the next word come behind those in this one. */
export const readBytes = (m: Machine, pfn: number, offset: number, width: number): number => {
  const shift = (offset & 3) * 8;
  const low = readFrame(m, pfn, offset) >>> shift;
  const next = (offset & 3) + Math.min(width, 4) > 4;
  const high = next ? readFrame(m, pfn, offset + 4) << (32 - shift) : 0;
  return ((low | high) & maskOf(width)) >>> 0;
};

/** Writes the low bytes of a value, up to 4, at any offset. */
export const writeBytes = (
  m: Machine,
  pfn: number,
  offset: number,
  width: number,
  value: number,
): void => {
  const shift = (offset & 3) * 8;
  const mask = maskOf(width);
  const old = readFrame(m, pfn, offset);
  writeFrame(m, pfn, offset, (old & ~(mask << shift)) | ((value & mask) << shift));
  if ((offset & 3) + Math.min(width, 4) <= 4) return;
  const back = 32 - shift;
  const next = readFrame(m, pfn, offset + 4);
  writeFrame(m, pfn, offset + 4, (next & ~(mask >>> back)) | ((value & mask) >>> back));
};

/**
 * The arena word of a physical address, for structures that hardware reaches without translation:
 * frames of the pool, and the descriptors in struct vcpu_vmx.
 */
const wordOfPhysical = (m: Machine, hpa: number): number => {
  const owner = m.vcpu[vcpuOfPiDesc(hpa)];
  if (owner !== undefined) return baseOf(owner.pi_desc) + ((hpa % 64) >>> 2);
  const pfn = hpa_to_pfn(hpa);
  if (pfn < firstFrame || pfn >= m.frame.length) {
    throw new Error(`model: the CPU is told to access 0x${hpa.toString(16)}, which is no memory`);
  }
  return wordOfFrame(m, pfn, hpa % PAGE_SIZE);
};

export const readPhysical = (m: Machine, hpa: number): number =>
  m.arena.load(wordOfPhysical(m, hpa));

export const writePhysical = (m: Machine, hpa: number, value: number): void => {
  const word = wordOfPhysical(m, hpa);
  if (m.frame[hpa_to_pfn(hpa)]?.freed === true) m.vm.spec.freed_frame_writes++;
  m.arena.store(word, value >>> 0);
};
