// Reads from the machine what the keys of `expect` are about.

import { APIC_IRR, APIC_ISR, APIC_PROCPRI } from '#sim/state/apicdef.ts';
import { isObject, type Json, type Observed, type Read } from '../adapter.ts';
import { type CpuBench, readWord, vectorsAt, wordsOf } from './bench.ts';
import { exitNameOf } from './words.ts';

type Look = Read<CpuBench>;

/** The words of a page that the case names. */
const named = (bench: CpuBench, frame: number, expected: Json): Observed => {
  if (!isObject(expected)) throw new Error('words are named by their offsets');
  return Object.fromEntries(
    Object.keys(expected).map((offset) => [offset, readWord(bench, frame, Number(offset))]),
  );
};

const hexOf = (offset: number): string => `0x${offset.toString(16).padStart(3, '0')}`;

/** The words of the virtual-APIC page that are not what they were before the operation. */
const changed = (bench: CpuBench): Observed =>
  Object.fromEntries(
    wordsOf(bench).flatMap((word, i) => (word === bench.before[i] ? [] : [[hexOf(4 * i), word]])),
  );

const delivered: Look = ({ vcpu: { guest } }) => {
  if (guest.delivered_count > guest.delivered.length) throw new Error('the ring has turned over');
  return guest.delivered.slice(0, guest.delivered_count).map(({ vector }) => vector);
};

const pid: Look = ({ vcpu: { pi_desc } }) => ({
  pir: Array.from({ length: 256 }, (_, vector) => vector).filter((v) => pi_desc.pir.has(v)),
  on: pi_desc.on,
  sn: pi_desc.sn,
});

export const expects: Readonly<Record<string, Look>> = {
  exit_reason: ({ vcpu }) => vcpu.vmcs01.vm_exit_reason,
  exit_name: ({ vcpu }) => exitNameOf(vcpu.vmcs01.vm_exit_reason),
  exit_qualification: ({ vcpu }) => vcpu.vmcs01.exit_qualification,
  vm_instruction_error: ({ vcpu }) => vcpu.vmcs01.vm_instruction_error,
  rflags_zf: ({ m, vcpu }) => m.cpu[vcpu.cpu]!.rflags_zf,
  value: ({ vcpu: { guest } }) => BigInt(guest.value) + (BigInt(guest.value_high) << 32n),
  vapic: (bench, expected) => named(bench, bench.vapic, expected),
  apic_access_page: (bench, expected) => named(bench, bench.accessPage, expected),
  vapic_changed: changed,
  rvi: ({ vcpu }) => vcpu.vmcs01.guest_intr_status & 0xff,
  svi: ({ vcpu }) => vcpu.vmcs01.guest_intr_status >>> 8,
  vppr: (bench) => readWord(bench, bench.vapic, APIC_PROCPRI),
  visr: (bench) => vectorsAt(bench, APIC_ISR),
  virr: (bench) => vectorsAt(bench, APIC_IRR),
  pending_virtual_interrupt: ({ vcpu }) => vcpu.guest.virtual_interrupt_pending,
  delivered,
  eoi_exits: ({ eoiExits }) => eoiExits,
  pid,
};
