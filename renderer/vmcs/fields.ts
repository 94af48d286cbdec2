// The fields of vmcs01 in the order of their encodings, with what their values mean.

import {
  differsAt,
  type Leaf,
  type LeafIndex,
  textOf,
  valueAt,
} from '../../main/sim/arena/leaves.ts';
import { rootOf } from '../../main/sim/state/addresses.ts';

export interface VmcsField {
  readonly leaf: Leaf;
  readonly name: string;
  readonly encoding: string;
  readonly width: string;
}

const widths = ['16 bits', '64 bits', '32 bits', 'natural'] as const;

/** Bits 14:13 of an encoding are the width. */
const widthOf = (encoding: number): string => widths[((encoding >>> 13) & 3) as 0 | 1 | 2 | 3];

export const vmcsFields = (index: LeafIndex, vcpu: number): VmcsField[] => {
  const prefix = `vcpu[${vcpu}].vmcs01.`;
  return index.leaves
    .filter((leaf) => leaf.path.startsWith(prefix))
    .map((leaf) => ({
      leaf,
      name: leaf.path.slice(prefix.length),
      encoding: leaf.tag < 0 ? '' : `0x${leaf.tag.toString(16).padStart(4, '0')}`,
      width: leaf.tag < 0 ? '' : widthOf(leaf.tag),
    }))
    .sort((a, b) => a.leaf.tag - b.leaf.tag);
};

/** The number as hardware has it. */
export const rawText = (words: Uint32Array, leaf: Leaf): string => {
  const value = valueAt(words, leaf);
  if (typeof value === 'string') return value;
  return `0x${Number(value).toString(16)}`;
};

/** In words: names of set bits, or of the value. */
export const decodedText = (words: Uint32Array, leaf: Leaf): string => {
  const text = textOf(words, leaf);
  if (leaf.kind === 'bits') return text.slice(1, -1);
  if (typeof leaf.format === 'object') return text === rawText(words, leaf) ? '' : text;
  const value = valueAt(words, leaf);
  if (leaf.path.endsWith('ept_pointer') && typeof value === 'number') return rootText(value);
  if (leaf.format === 'hpa' && typeof value === 'number') return frameText(value);
  if (leaf.path.endsWith('guest_intr_status') && typeof value === 'number') {
    return `RVI 0x${(value & 0xff).toString(16)}, SVI 0x${(value >>> 8).toString(16)}`;
  }
  return '';
};

const rootText = (eptp: number): string => (eptp === 0 ? 'none' : `EPT root ${rootOf(eptp)}`);

/** An address of the host names a page frame. */
const frameText = (address: number): string =>
  address === 0 ? 'none' : `pfn ${Math.floor(address / 4096)}`;

export interface OtherValue {
  /** the marker that has it */
  readonly name: string;
  readonly text: string;
}

/** What a marker has instead, if that differs from what is shown. */
export const otherValue = (
  name: string,
  words: Uint32Array,
  here: Uint32Array,
  leaf: Leaf,
): OtherValue[] =>
  differsAt(words, here, leaf)
    ? [{ name, text: `${rawText(words, leaf)} ${decodedText(words, leaf)}`.trim() }]
    : [];

export interface Bit {
  readonly name: string;
  /** what the step did to it */
  readonly change: 'set' | 'cleared' | undefined;
}

const bitsOf = (words: Uint32Array, leaf: Leaf): string[] =>
  textOf(words, leaf).slice(1, -1).split(' ').filter(Boolean);

/** The bits of a control that are set, and those that the step cleared. */
export const bitsAt = (before: Uint32Array, words: Uint32Array, leaf: Leaf): Bit[] => {
  if (leaf.kind !== 'bits') return [];
  const [was, is] = [bitsOf(before, leaf), bitsOf(words, leaf)];
  const cleared = was.filter((name) => !is.includes(name));
  return [
    ...is.map((name): Bit => ({ name, change: was.includes(name) ? undefined : 'set' })),
    ...cleared.map((name): Bit => ({ name, change: 'cleared' })),
  ];
};
