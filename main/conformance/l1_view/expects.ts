// Reads what L1 finds after L2 has run: its VMCS, its APIC, the virtual-APIC page of L2.

import { readFrame } from '#sim/hw/memory.ts';
import { kvm_x2apic_msr_read } from '#sim/kvm/lapic/access.ts';
import { perform } from '#sim/steps.ts';
import { isObject, type Json, type JsonObject, type Observed, type Read } from '../adapter.ts';
import { frameOf } from '../kvm/l1.ts';
import { peek } from '../kvm/settle.ts';
import { numberOf } from '../kvm/words.ts';
import { exitNameOf } from '../vmx_cpu/words.ts';
import { doneByKvm, type L1Bench, page, VCPU } from './bench.ts';

type Look = Read<L1Bench>;

const X2APIC_MSR = 0x800;

/** What L1 reads of its own APIC. */
export const readL1 = (bench: L1Bench, msr: number): bigint =>
  peek(bench, () => {
    const { m } = bench;
    const { guest } = m.vcpu[VCPU]!;
    if (perform(m, VCPU, kvm_x2apic_msr_read(m, VCPU, msr)) !== 0) {
      throw new Error(`L1 cannot read MSR 0x${msr.toString(16)}`);
    }
    return BigInt(guest.value) + (BigInt(guest.value_high) << 32n);
  });

const registerOf = (bench: L1Bench, offset: string): bigint =>
  readL1(bench, X2APIC_MSR + (numberOf(offset) >>> 4));

/** Words of L1's APIC; `l1-current` where L2 wrote what was there, and it is still there. */
const l1Lapic: Look = (bench, expected) =>
  Object.fromEntries(
    Object.entries(expected as JsonObject).map(([offset, value]): [string, Observed] => {
      const now = registerOf(bench, offset);
      if (value !== 'l1-current') return [offset, now];
      return [offset, now === bench.before.get(numberOf(offset)) ? value : now];
    }),
  );

const valueRead = ({ m }: L1Bench): bigint => {
  const { guest } = m.vcpu[VCPU]!;
  return BigInt(guest.value) + (BigInt(guest.value_high) << 32n);
};

/** `l1_lapic 0x2f0`: L2 has read what L1 reads there. */
const valueFrom: Look = (bench, expected) => {
  const offset = /^l1_lapic (0x[0-9a-f]+)$/.exec(String(expected))?.[1];
  if (offset === undefined) throw new Error(`no adapter knows value_from "${String(expected)}"`);
  const [l1, l2] = [registerOf(bench, offset), valueRead(bench)];
  return l1 === l2 ? expected : `L1 reads ${l1}, L2 ${l2}`;
};

const vapic: Look = ({ m }, expected: Json) => {
  if (!isObject(expected)) throw new Error('words are named by their offsets');
  const frame = frameOf(m, page.VAPIC);
  return Object.fromEntries(
    Object.keys(expected).map((offset) => [offset, readFrame(m, frame, numberOf(offset))]),
  );
};

const delivered: Look = ({ m }) => {
  const { guest } = m.vcpu[VCPU]!;
  if (guest.delivered_count > guest.delivered.length) throw new Error('the ring has turned over');
  return guest.delivered.slice(0, guest.delivered_count).map(({ vector }) => vector);
};

const vmcs12 = ({ m }: L1Bench) => m.vcpu[VCPU]!.nested.cached_vmcs12;

export const expects: Readonly<Record<string, Look>> = {
  exit_reason: (bench) => vmcs12(bench).vm_exit_reason,
  exit_name: (bench) => exitNameOf(vmcs12(bench).vm_exit_reason),
  path: (bench) => (doneByKvm(bench) ? 'l1-apic' : 'virtualized'),
  value: valueRead,
  value_from: valueFrom,
  vapic,
  l1_lapic: l1Lapic,
  l1_pending_vector: ({ m }) => m.vcpu[VCPU]!.apic.irr.highest(),
  exits_to_host: ({ exits }) =>
    exits.map((reason) => ({
      outcome: 'vm-exit',
      exit_reason: reason,
      exit_name: exitNameOf(reason),
    })),
  delivered,
  rvi: (bench) => vmcs12(bench).guest_intr_status & 0xff,
  svi: (bench) => vmcs12(bench).guest_intr_status >>> 8,
};
