// What the keys of `given` lay on a machine whose vCPUs and APICs are there.

import type { Bits } from '#sim/arena/fields.ts';
import { alloc_page } from '#sim/host/frames.ts';
import { pteOf } from '#sim/host/page_table.ts';
import { readFrame, writeFrame } from '#sim/hw/memory.ts';
import { hvaOfGuestPage } from '#sim/state/addresses.ts';
import { apicEvent } from '#sim/state/lapic.ts';
import { apicAttention } from '#sim/state/vcpu.ts';
import { cpuControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { type Give, type Json, type JsonObject, unused } from '../adapter.ts';
import { type KvmBench, setRegister } from './bench.ts';
import { done, need } from './functions.ts';
import {
  halvesOf,
  inhibitReasons,
  numberFor,
  numberOf,
  numbersOf,
  recordsOf,
  vcpuModes,
} from './words.ts';

type KvmGive = Give<KvmBench>;

const setBits = (bits: Bits, members: readonly number[]): void => {
  for (const one of members) bits.set(one);
};

const pid: KvmGive = ({ m }, value) => {
  const { pi_desc } = m.vcpu[0]!;
  const { pir, on, sn } = value as JsonObject;
  setBits(pi_desc.pir, numbersOf(pir));
  pi_desc.on = on === true;
  pi_desc.sn = sn === true;
};

const inhibit: KvmGive = (bench, value) => {
  if (value === null) return;
  const { m, user } = bench;
  const reason = numberFor(inhibitReasons, value);
  done(m, user, need('kvm_set_or_clear_apicv_inhibit')(m, reason, true));
};

const ioapic: KvmGive = ({ m }, value) => {
  for (const pin of recordsOf(value)) {
    const entry = m.vm.ioapic.redirtbl[numberOf(pin['pin'])]!;
    entry.low = numberOf(pin['low']);
    entry.high = numberOf(pin['high']);
  }
};

/** Why INIT and SIPI have to wait, if they have to. */
const blockers: Readonly<Record<string, (bench: KvmBench) => void>> = {
  none: unused,
  smm: ({ m }) => {
    m.vcpu[0]!.in_smm = true;
  },
  'smi-pending': ({ m }) => {
    m.vcpu[0]!.smi_pending = true;
  },
  'vmx-root': ({ m }) => {
    m.vcpu[0]!.nested.vmxon = true;
  },
  l2: (bench) => enterL2(bench, true),
};

const enterL2 = ({ m }: KvmBench, active: Json): void => {
  if (active !== true) return;
  m.vcpu[0]!.nested.vmxon = true;
  m.vcpu[0]!.guest_mode = true;
};

const blockedBy: KvmGive = (bench, value) => {
  const name = String(value);
  const block = Object.hasOwn(blockers, name) ? blockers[name] : undefined;
  if (block === undefined) throw new Error(`nothing is blocked by ${JSON.stringify(value)}`);
  block(bench);
};

const status =
  (shift: number): KvmGive =>
  ({ m }, value) => {
    const { vmcs01 } = m.vcpu[0]!;
    const rest = vmcs01.guest_intr_status & ~(0xff << shift);
    vmcs01.guest_intr_status = rest | (numberOf(value) << shift);
  };

/** The address of the shared word; where it is does not matter. */
const vapicAddr = 0x100;

/** The frame of the page in guest memory where the vAPIC word is. */
const vapicFrame = (m: Machine): number => {
  const pte = m.pte[pteOf(m, hvaOfGuestPage(0))]!;
  if (!pte.present) {
    pte.pfn = alloc_page(m);
    pte.present = true;
  }
  return pte.pfn;
};

export const vapicWordOf = (m: Machine): number => readFrame(m, vapicFrame(m), vapicAddr);

/** Shares a word with the guest, as KVM_SET_VAPIC_ADDR does. */
export const useVapic = ({ m }: KvmBench): void => {
  const { apic, apic_attention } = m.vcpu[0]!;
  apic.vapic_addr = vapicAddr;
  apic.vapic_cache.gpa = vapicAddr;
  apic.vapic_cache.hva = hvaOfGuestPage(0) + vapicAddr;
  apic.vapic_cache.generation = m.vm.memslots_generation;
  apic_attention.set(apicAttention.CHECK_VAPIC);
};

/** Laid on the machine before it is settled. */
export const early: Readonly<Record<string, KvmGive>> = { ioapic, inhibit };

/** Laid on the settled machine, in this order. */
export const givens: Readonly<Record<string, KvmGive>> = {
  vm: unused,
  vcpus: unused,
  ioapic: unused,
  inhibit: unused,
  // Checked when the machine was settled.
  apicv_active: unused,
  // Read by the operation.
  sender_is_this_vcpus_own_thread: unused,
  pir: ({ m }, value) => setBits(m.vcpu[0]!.pi_desc.pir, numbersOf(value)),
  irr: ({ m }, value) => setBits(m.vcpu[0]!.apic.irr, numbersOf(value)),
  pid,
  vmcs01_rvi: status(0),
  vmcs01_svi: status(8),
  l2_active: enterL2,
  l2_posted_intr_nv: ({ m }, value) => {
    m.vcpu[0]!.nested.posted_intr_nv = value === null ? -1 : numberOf(value);
  },
  vcpu_mode: ({ m }, value) => {
    m.vcpu[0]!.mode = numberFor(vcpuModes, value);
  },
  vmcs12_use_tpr_shadow: ({ m }, value) => {
    if (value === true) {
      m.vcpu[0]!.nested.cached_vmcs12.cpu_based_vm_exec_control.set(cpuControl.TPR_SHADOW);
    }
  },
  vapic_addr_set: (bench, value) => {
    if (value === true) useVapic(bench);
  },
  vapic_word: (bench, value) => {
    useVapic(bench);
    writeFrame(bench.m, vapicFrame(bench.m), vapicAddr, numberOf(value));
  },
  // What the CPU has just written to the page, before KVM knows.
  vapic: (bench, value) => {
    for (const [offset, word] of Object.entries(value as JsonObject)) {
      setRegister(bench, 0, numberOf(offset), halvesOf(word).low);
    }
  },
  blocked_by: blockedBy,
  pending_events: ({ m }, value) => {
    for (const name of value as readonly string[]) {
      m.vcpu[0]!.apic.pending_events.set(numberFor(apicEvent, name));
    }
  },
  sipi_vector: ({ m }, value) => {
    m.vcpu[0]!.apic.sipi_vector = numberOf(value);
  },
  nested_entry_pending: ({ m }, value) => {
    m.vcpu[0]!.nested.nested_run_pending = value === true;
  },
  time_ns: ({ m }, value) => {
    m.vm.now = numberOf(value);
  },
  // After time_ns: the guest's TSC is an offset from the host's clock.
  tsc_at_start: ({ m }, value) => {
    const elapsed = (BigInt(m.vm.now) * BigInt(m.vm.tsc_khz)) / 1_000_000n;
    m.vm.tsc_offset = Number(BigInt.asUintN(53, BigInt(numberOf(value)) - elapsed));
  },
};
