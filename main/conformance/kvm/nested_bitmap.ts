// Cases about the MSR bitmap of vmcs02: what L2 reaches without an exit.

import { readFrame, writeFrame } from '#sim/hw/memory.ts';
import { PAGE_SIZE } from '#sim/state/machine.ts';
import { loadedVmcs } from '#sim/state/vcpu.ts';
import { otherMsr } from '#sim/state/vmcs.ts';
import type { Give, Json, JsonObject, Observed, Operate, Tables } from '../adapter.ts';
import type { KvmBench } from './bench.ts';
import { done, need } from './functions.ts';
import { beginVmx, frameOf, layControls, vmwrite } from './l1.ts';
import { numberOf } from './words.ts';

type Bits = KvmBench['m']['vcpu'][number]['msr_bitmap']['x2apic_read'];

/** Where L1 keeps its bitmap. */
const bitmapPage = 0x2000;
const firstX2apic = 0x800;
/** The cases look at no MSR behind it. */
const lastX2apic = 0x83f;
const bytesOfWrites = 2048;
const bytesOfHigh = 1024;
const firstHigh = 0xc000_0000;

const numbers: Readonly<Record<number, number>> = {
  [otherMsr.SPEC_CTRL]: 0x48,
  [otherMsr.PRED_CMD]: 0x49,
  [otherMsr.FLUSH_CMD]: 0x10b,
  [otherMsr.FS_BASE]: 0xc000_0100,
  [otherMsr.GS_BASE]: 0xc000_0101,
  [otherMsr.KERNEL_GS_BASE]: 0xc000_0102,
};

const pass = ({ m }: KvmBench, msr: number, write: boolean): void => {
  const high = msr >= firstHigh;
  const index = high ? msr - firstHigh : msr;
  const offset = (write ? bytesOfWrites : 0) + (high ? bytesOfHigh : 0) + (index >>> 5) * 4;
  const pfn = frameOf(m, bitmapPage);
  writeFrame(m, pfn, offset, readFrame(m, pfn, offset) & ~(1 << (index & 31)));
};

/** A bitmap that intercepts everything, unless the case says otherwise. */
const layControlsAndPage: Give<KvmBench> = (bench, value) => {
  const { m } = bench;
  layControls(bench, value);
  vmwrite(bench, 'msr_bitmap', bitmapPage);
  const pfn = frameOf(m, bitmapPage);
  for (let offset = 0; offset < PAGE_SIZE; offset += 4) writeFrame(m, pfn, offset, 0xffff_ffff);
};

const x2apicMsrs = Array.from({ length: 256 }, (_, index) => firstX2apic + index);

const words: Readonly<Record<string, readonly number[]>> = {
  'all-pass': x2apicMsrs,
  'all-intercept': [],
};

function passedBy(list: Json): readonly number[] {
  if (Array.isArray(list)) return list.map((one: Json) => numberOf(one));
  const found = Object.hasOwn(words, String(list)) ? words[String(list)] : undefined;
  if (found === undefined) throw new Error(`no adapter knows the list "${String(list)}"`);
  return found;
}

const layX2apic: Give<KvmBench> = (bench, value) => {
  for (const [key, list] of Object.entries(value as JsonObject)) {
    if (key !== 'read_pass_through' && key !== 'write_pass_through') {
      throw new Error(`no adapter knows given "l1_bitmap_x2apic.${key}"`);
    }
    for (const msr of passedBy(list)) pass(bench, msr, key === 'write_pass_through');
  }
};

/** `0x48r`: an MSR, and whether it is read or written. */
const accessOf = (text: string): { readonly msr: number; readonly write: boolean } => {
  const [, number, kind] = /^(0x[0-9a-f]+)([rw])$/.exec(text) ?? [];
  if (number === undefined) throw new Error(`"${text}" is no access`);
  return { msr: Number(number), write: kind === 'w' };
};

const layL1Others: Give<KvmBench> = (bench, value) => {
  for (const text of value as readonly string[]) {
    const { msr, write } = accessOf(text);
    pass(bench, msr, write);
  }
};

const layL0Others: Give<KvmBench> = ({ m }, value) => {
  const { other_read, other_write } = m.vcpu[0]!.msr_bitmap;
  other_read.setWord(0, 0xffff_ffff);
  other_write.setWord(0, 0xffff_ffff);
  for (const text of value as readonly string[]) {
    const { msr, write } = accessOf(text);
    const bit = Object.entries(numbers).find(([, number]) => number === msr)?.[0];
    if (bit === undefined) throw new Error(`no adapter knows the MSR of "${text}"`);
    (write ? other_write : other_read).clear(Number(bit));
  }
};

const x2apicPassed = (bitmap: Bits): Observed =>
  x2apicMsrs
    .filter((msr) => msr <= lastX2apic && !bitmap.has(msr - firstX2apic))
    .map((msr) => `0x${msr.toString(16)}`);

const othersPassed = ({ m }: KvmBench): Observed => {
  const { other_read, other_write } = m.vcpu[0]!.nested.msr_bitmap;
  return Object.entries(numbers)
    .sort(([, a], [, b]) => a - b)
    .flatMap(([bit, msr]) => {
      const name = `0x${msr.toString(16)}`;
      return [
        ...(other_read.has(Number(bit)) ? [] : [`${name}r`]),
        ...(other_write.has(Number(bit)) ? [] : [`${name}w`]),
      ];
    });
};

const merge: Operate<KvmBench> = (bench) => {
  const { m } = bench;
  beginVmx(bench);
  m.vcpu[0]!.loaded_vmcs = loadedVmcs.VMCS02;
  return { vmcs02_uses_msr_bitmap: done(m, 0, need('nested_vmx_prepare_msr_bitmap')(m, 0)) };
};

export const nestedBitmap: Tables<KvmBench> = {
  givens: {
    controls: layControlsAndPage,
    l1_bitmap_x2apic: layX2apic,
    l1_bitmap_other_pass_through: layL1Others,
    l0_bitmap_other_pass_through: layL0Others,
  },
  ops: { 'merge-msr-bitmaps': merge },
  expects: {
    x2apic_read_pass_through: ({ m }) => x2apicPassed(m.vcpu[0]!.nested.msr_bitmap.x2apic_read),
    x2apic_write_pass_through: ({ m }) => x2apicPassed(m.vcpu[0]!.nested.msr_bitmap.x2apic_write),
    other_pass_through: othersPassed,
  },
};
