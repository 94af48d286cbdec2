// Cases about events while L2 runs: what ends it, what is posted for it, what would wake it.

import { readFrame, writeFrame } from '#sim/hw/memory.ts';
import { ON, offsetOfControl, SN } from '#sim/hw/posted_interrupts.ts';
import { rviOf, setRvi, setSvi, sviOf } from '#sim/hw/vmcs.ts';
import { EBUSY, ENXIO } from '#sim/kvm/errno.ts';
import { APIC_IRR } from '#sim/state/apicdef.ts';
import { mappingKind } from '#sim/state/nested.ts';
import { loadedVmcs } from '#sim/state/vcpu.ts';
import { exitReason, interruptibility } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import type { Answer, Give, JsonObject, Operate, Read, Tables } from '../adapter.ts';
import { type KvmBench, membersOf } from './bench.ts';
import { done, need } from './functions.ts';
import { layControls } from './l1.ts';
import { numberOf, numbersOf } from './words.ts';

type L2Give = Give<KvmBench>;
type L2Read = Read<KvmBench>;

const wordsOfVectors = 8;

/** Pages of L1: frames at the end, that nobody has used. */
const descriptorFrame = (m: Machine): number => m.frame.length - 1;
const vapicFrame = (m: Machine): number => m.frame.length - 2;

type HostMap = Machine['vcpu'][number]['nested']['pi_desc_map'];

/** One reference is that of the guest's memory, the other that of the mapping. */
const mapPage = (m: Machine, map: HostMap, pfn: number): void => {
  m.frame[pfn]!.allocated = true;
  m.frame[pfn]!.refcount = 2;
  map.pfn = pfn;
  map.mapping = mappingKind.KMAP;
};

/** L2 has been entered with these controls in vmcs12, and its pages are mapped. */
const layActiveL2: L2Give = (bench, value) => {
  const { m } = bench;
  const vcpu = m.vcpu[0]!;
  const { nested } = vcpu;
  nested.vmxon = true;
  vcpu.guest_mode = true;
  vcpu.loaded_vmcs = loadedVmcs.VMCS02;
  vcpu.guest.rflags_if = true;
  mapPage(m, nested.pi_desc_map, descriptorFrame(m));
  mapPage(m, nested.virtual_apic_map, vapicFrame(m));
  layControls(bench, value);
};

/** Members of a set whose words are `stride` bytes apart. */
interface VectorSet {
  readonly pfn: number;
  readonly offset: number;
  readonly stride: number;
}

const pirOf = (m: Machine): VectorSet => ({ pfn: descriptorFrame(m), offset: 0, stride: 4 });
const virrOf = (m: Machine): VectorSet => ({ pfn: vapicFrame(m), offset: APIC_IRR, stride: 16 });

const laySet = (m: Machine, { pfn, offset, stride }: VectorSet, members: readonly number[]) => {
  for (const vector of members) {
    const at = offset + (vector >>> 5) * stride;
    writeFrame(m, pfn, at, readFrame(m, pfn, at) | (1 << (vector & 31)));
  }
};

const readSet = (m: Machine, { pfn, offset, stride }: VectorSet): number[] =>
  membersOf({
    width: 32 * wordsOfVectors,
    word: (index) => readFrame(m, pfn, offset + index * stride),
  });

const layPid: L2Give = ({ m }, value) => {
  const { pir, on, sn } = value as JsonObject;
  laySet(m, pirOf(m), numbersOf(pir));
  const control = (on === true ? ON : 0) | (sn === true ? SN : 0);
  writeFrame(m, descriptorFrame(m), offsetOfControl, control);
};

/** Lays a flag of the vCPU. */
const flag =
  (lay: (m: Machine, on: boolean) => void): L2Give =>
  ({ m }, value) =>
    lay(m, value === true);

const unmapped = (map: (m: Machine) => HostMap): L2Give =>
  flag((m, mapped) => {
    if (!mapped) map(m).mapping = mappingKind.NONE;
  });

const nestedOf = (m: Machine): Machine['vcpu'][number]['nested'] => m.vcpu[0]!.nested;

const givens: Readonly<Record<string, L2Give>> = {
  controls: layActiveL2,
  pid: layPid,
  virr: ({ m }, value) => laySet(m, virrOf(m), numbersOf(value)),
  vapic: ({ m }, value) => {
    for (const [offset, word] of Object.entries(value as JsonObject)) {
      writeFrame(m, vapicFrame(m), numberOf(offset), numberOf(word));
    }
  },
  rvi: ({ m }, value) => setRvi(m.vcpu[0]!.vmcs02, numberOf(value)),
  svi: ({ m }, value) => setSvi(m.vcpu[0]!.vmcs02, numberOf(value)),
  pi_pending: flag((m, on) => {
    nestedOf(m).pi_pending = on;
  }),
  nested_run_pending: flag((m, on) => {
    nestedOf(m).nested_run_pending = on;
  }),
  event_needs_reinjection: flag((m, on) => {
    m.vcpu[0]!.interrupt.injected = on;
  }),
  l2_interrupts_blocked: flag((m, blocked) => {
    m.vcpu[0]!.guest.rflags_if = !blocked;
  }),
  nmi_pending: flag((m, on) => {
    m.vcpu[0]!.nmi_pending = on ? 1 : 0;
  }),
  nmi_blocked: flag((m, on) => {
    if (on) m.vcpu[0]!.vmcs02.guest_interruptibility = interruptibility.NMI;
  }),
  smi_pending: flag((m, on) => {
    m.vcpu[0]!.smi_pending = on;
  }),
  mtf_pending: flag((m, on) => {
    nestedOf(m).mtf_pending = on;
  }),
  preemption_timer_expired: flag((m, on) => {
    nestedOf(m).preemption_timer_expired = on;
  }),
  exception_pending: flag((m, on) => {
    m.vcpu[0]!.exception_pending = on;
  }),
  descriptor_page_mapped: unmapped((m) => nestedOf(m).pi_desc_map),
  virtual_apic_page_mapped: unmapped((m) => nestedOf(m).virtual_apic_map),
};

const results: Readonly<Record<number, string>> = {
  0: 'ok',
  [-EBUSY]: 'busy',
  [-ENXIO]: 'memory-failure-exit',
};
const returned = (result: number): Answer => ({ return: results[result] ?? result });

const ops: Readonly<Record<string, Operate<KvmBench>>> = {
  'check-nested-events': ({ m }) => returned(done(m, 0, need('vmx_check_nested_events')(m, 0))),
  'complete-nested-posted-interrupt': ({ m }) =>
    returned(done(m, 0, need('vmx_complete_nested_posted_interrupt')(m, 0))),
  'has-nested-events': ({ m }, op) => ({
    has_events: done(m, 0, need('vmx_has_nested_events')(m, 0, op['for_injection'] === true)),
  }),
};

const exitToL1: L2Read = ({ m }) => {
  const { vm_exit_reason, exit_qualification, vm_exit_intr_info } = nestedOf(m).cached_vmcs12;
  if (vm_exit_reason === exitReason.NONE) return null;
  return {
    exit_reason: vm_exit_reason,
    exit_qualification,
    interruption_info: vm_exit_intr_info,
  };
};

const readPid: L2Read = ({ m }) => {
  const control = readFrame(m, descriptorFrame(m), offsetOfControl);
  return { pir: readSet(m, pirOf(m)), on: (control & ON) !== 0, sn: (control & SN) !== 0 };
};

/** The suites about events of L2. */
export const nestedEvents: Tables<KvmBench> = {
  givens,
  ops,
  expects: {
    vm_exit_to_l1: exitToL1,
    l1_irr: ({ m }) => membersOf(m.vcpu[0]!.apic.irr),
    l1_isr: ({ m }) => membersOf(m.vcpu[0]!.apic.isr),
    nmi_pending: ({ m }) => m.vcpu[0]!.nmi_pending,
    virr: ({ m }) => readSet(m, virrOf(m)),
    rvi: ({ m }) => rviOf(m.vcpu[0]!.vmcs02),
    svi: ({ m }) => sviOf(m.vcpu[0]!.vmcs02),
    pid: readPid,
    pi_pending: ({ m }) => nestedOf(m).pi_pending,
  },
};
