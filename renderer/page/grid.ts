// Where each of the 256 vectors of an APIC stands.

import type { VcpuView } from '../../main/sim/state/machine.ts';
import type { L2Apic } from './l2_apic.ts';

export const stations = ['PIR', 'IRR', 'ISR', 'TMR'] as const;
export type Station = (typeof stations)[number];

export interface VectorCell {
  readonly vector: number;
  readonly at: readonly Station[];
  /** RVI or SVI of the VMCS of that level */
  readonly status: readonly ('RVI' | 'SVI')[];
}

/** An APIC as far as vectors are concerned. */
export interface Vectors {
  has(station: Station, vector: number): boolean;
  readonly ppr: number;
  /** RVI in the low byte, SVI in the high one */
  readonly status: number;
}

/** The local APIC of a vCPU, which is that of L1. */
export const l1Vectors = ({ apic, pi_desc, vmcs01 }: VcpuView): Vectors => {
  const sets = { PIR: pi_desc.pir, IRR: apic.irr, ISR: apic.isr, TMR: apic.tmr };
  return {
    has: (station, vector) => sets[station].has(vector),
    ppr: apic.ppr,
    status: vmcs01.guest_intr_status,
  };
};

/** Offsets of the vector registers in the page, and of PPR. */
const offsets = { ISR: 0x100, TMR: 0x180, IRR: 0x200 } as const;
const pprOffset = 0xa0;

const isSet = (words: Uint32Array, word: number, vector: number): boolean =>
  (((words[word] ?? 0) >>> (vector & 31)) & 1) === 1;

/** What the CPU has of an L2. */
export const l2Vectors = (words: Uint32Array, { page, descriptor, status }: L2Apic): Vectors => ({
  has: (station, vector) => {
    const part = vector >>> 5;
    if (station === 'PIR') return descriptor >= 0 && isSet(words, descriptor + part, vector);
    // A register of 32 vectors fills the first word of a row of 16 bytes.
    const row = (offsets[station] >>> 2) + part * 4;
    return page !== undefined && isSet(words, page.word + row, vector);
  },
  ppr: page === undefined ? 0 : (words[page.word + (pprOffset >>> 2)] ?? 0),
  status,
});

const statusOf = (status: number, vector: number): VectorCell['status'] => {
  const found: ('RVI' | 'SVI')[] = [];
  if (vector !== 0 && (status & 0xff) === vector) found.push('RVI');
  if (vector !== 0 && status >>> 8 === vector) found.push('SVI');
  return found;
};

export const gridOf = (vectors: Vectors): VectorCell[] =>
  Array.from({ length: 256 }, (_, vector) => ({
    vector,
    at: stations.filter((station) => vectors.has(station, vector)),
    status: statusOf(vectors.status, vector),
  }));
