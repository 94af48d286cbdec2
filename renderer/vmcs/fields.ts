// The fields of the VMCSs in the order of their encodings, with what their values mean.

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
}

const encodingOf = (tag: number): string =>
  tag < 0 ? '' : `0x${tag.toString(16).padStart(4, '0')}`;

const membersOf = (index: LeafIndex, prefix: string): { name: string; leaf: Leaf }[] =>
  index.leaves
    .filter((leaf) => leaf.path.startsWith(prefix))
    .map((leaf) => ({ name: leaf.path.slice(prefix.length), leaf }));

export const vmcsFields = (index: LeafIndex, vcpu: number): VmcsField[] =>
  membersOf(index, `vcpu[${vcpu}].vmcs01.`)
    .map(({ name, leaf }) => ({ leaf, name, encoding: encodingOf(leaf.tag) }))
    .sort((a, b) => a.leaf.tag - b.leaf.tag);

/** One field as the three VMCSs of a vCPU have it. */
export interface VmcsLine {
  readonly tag: number;
  readonly name: string;
  readonly encoding: string;
  readonly vmcs01: Leaf | undefined;
  readonly vmcs12: Leaf | undefined;
  readonly vmcs02: Leaf | undefined;
}

/** The fields of all three; where KVM's vmcs12 has another name, that of the VMCS counts. */
export const vmcsLines = (index: LeafIndex, vcpu: number): VmcsLine[] => {
  const byTag = (prefix: string) =>
    new Map(membersOf(index, prefix).map((one) => [one.leaf.tag, one]));
  const own = byTag(`vcpu[${vcpu}].vmcs01.`);
  const run = byTag(`vcpu[${vcpu}].vmcs02.`);
  const kept = byTag(`vcpu[${vcpu}].nested.cached_vmcs12.`);
  const tags = new Set([...own.keys(), ...run.keys(), ...kept.keys()]);
  return [...tags]
    .filter((tag) => tag >= 0)
    .sort((a, b) => a - b)
    .map((tag) => ({
      tag,
      name: (own.get(tag) ?? run.get(tag) ?? kept.get(tag))?.name ?? '',
      encoding: encodingOf(tag),
      vmcs01: own.get(tag)?.leaf,
      vmcs12: kept.get(tag)?.leaf,
      vmcs02: run.get(tag)?.leaf,
    }));
};

/** The number as hardware has it. */
export const rawText = (words: Uint32Array, leaf: Leaf): string => {
  const value = valueAt(words, leaf);
  if (typeof value === 'string') return value;
  return `0x${Number(value).toString(16)}`;
};

/** In few characters: without leading zeros, and all ones as hardware's "none". */
export const shortText = (words: Uint32Array, leaf: Leaf): string => {
  const raw = rawText(words, leaf);
  return leaf.width === 64 && /^0xf{16}$/.test(raw) ? '~0' : raw.replace(/^0x0+(?=.)/, '0x');
};

/** In words: names of set bits, or of the value. */
export const decodedText = (words: Uint32Array, leaf: Leaf): string => {
  const text = textOf(words, leaf);
  if (leaf.kind === 'bits') return text.slice(1, -1);
  if (typeof leaf.format === 'object') return text === rawText(words, leaf) ? '' : text;
  const value = valueAt(words, leaf);
  if (/vmcs0[12]\.ept_pointer$/.test(leaf.path) && typeof value === 'number')
    return rootText(value);
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

/** Names of the bits that are set. */
export const bitsOf = (words: Uint32Array, leaf: Leaf): string[] =>
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
