// The registers of an APIC, in KVM's page or in that of an L2: 64 rows of 16 bytes.

import type { RecordType } from '../../main/sim/arena/fields.ts';
import { type Leaf, type LeafIndex, leafAt } from '../../main/sim/arena/leaves.ts';

export const pageRows = 64;
const rowBytes = 16;

export interface PageRow {
  readonly offset: number;
  /** first word of the row in the arena */
  readonly word: number;
  /** the register at the row's start, or the part of a vector register that it holds */
  readonly leaf: Leaf | undefined;
  readonly name: string;
  /** the path of its first word */
  readonly path: string;
  /** of a vector register, which 32 vectors the row holds, else −1 */
  readonly part: number;
}

/** Where KVM keeps the registers of the local APIC of a vCPU; −1 if the layout has none. */
export const wordOfLapic = (layout: RecordType, vcpu: number): number => {
  const id = leafAt(layout, `vcpu[${vcpu}].apic.id`);
  return id === undefined ? -1 : id.word - 0x20 / 4;
};

/** The page of an L2: the frame that holds it, and its first word. */
export interface FramePage {
  readonly pfn: number;
  readonly word: number;
}

/** The rows of the page of a vCPU, or of an L2 on it, whose registers have the same places. */
export const pageOf = (
  layout: RecordType,
  index: LeafIndex,
  vcpu: number,
  ofL2?: FramePage,
): PageRow[] => {
  const base = wordOfLapic(layout, vcpu);
  if (base < 0) return [];
  return Array.from({ length: pageRows }, (_, i) => {
    const known = base + i * 4;
    const leaf = index.at(known).find((one) => one.path.startsWith(`vcpu[${vcpu}].apic.`));
    const part = leaf?.kind === 'bits' ? (known - leaf.word) / leaf.step : -1;
    const short = leaf?.path.split('.').at(-1) ?? '';
    const offset = i * rowBytes;
    return {
      offset,
      word: ofL2 === undefined ? known : ofL2.word + i * 4,
      path: ofL2 === undefined ? (leaf?.path ?? '') : `frame[${ofL2.pfn}].data[${offset}]`,
      leaf,
      part,
      name: part < 0 ? short : `${short} ${hex2(part * 32)}–${hex2(part * 32 + 31)}`,
    };
  });
};

export const hex2 = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`;

/** The vectors that a row of a vector register holds. */
export const vectorsOf = (word: number, part: number): number[] => {
  const found: number[] = [];
  for (let bit = 0; bit < 32; bit++) if (((word >>> bit) & 1) === 1) found.push(part * 32 + bit);
  return found;
};

const lvtModes: Readonly<Record<number, string>> = {
  0: 'fixed',
  2: 'SMI',
  4: 'NMI',
  5: 'INIT',
  7: 'ExtINT',
};

const lvtText = (value: number): string =>
  [
    (value & 0x1_0000) === 0 ? '' : 'masked',
    `vector ${hex2(value & 0xff)}`,
    lvtModes[(value >>> 8) & 7] ?? '',
  ]
    .filter((part) => part !== '')
    .join(', ');

const shorthands = ['', 'self', 'all', 'all but self'];

const icrText = (value: number): string =>
  [
    `vector ${hex2(value & 0xff)}`,
    lvtModes[(value >>> 8) & 7] ?? '',
    (value & 0x800) === 0 ? 'physical' : 'logical',
    shorthands[(value >>> 18) & 3] ?? '',
  ]
    .filter((part) => part !== '')
    .join(', ');

const meanings: Readonly<Record<string, (value: number) => string>> = {
  tpr: (value) => `class ${(value >>> 4) & 0xf}`,
  ppr: (value) => `class ${(value >>> 4) & 0xf}`,
  spiv: (value) =>
    `${(value & 0x100) === 0 ? 'disabled by software' : 'enabled'}, spurious ${hex2(value & 0xff)}`,
  lvr: (value) => `version ${hex2(value & 0xff)}, ${((value >>> 16) & 0xff) + 1} LVT entries`,
  icr: icrText,
};

/** What the value of a row means, '' if the number says it all. */
export const meaningOf = (row: PageRow, value: number): string => {
  if (row.part >= 0) return vectorsOf(value, row.part).map(hex2).join(' ');
  const name = row.leaf?.path.split('.').at(-1) ?? '';
  if (name.startsWith('lvt')) return lvtText(value);
  return meanings[name]?.(value) ?? '';
};

/** The 16 bytes of a row, low byte first. */
export const bytesOf = (words: Uint32Array, row: PageRow): number[] =>
  Array.from(
    { length: rowBytes },
    (_, i) => ((words[row.word + (i >>> 2)] ?? 0) >>> ((i & 3) * 8)) & 0xff,
  );
