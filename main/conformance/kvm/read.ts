// Reads from the machine what the keys of `expect` are about.

import { apicEvent } from '#sim/state/lapic.ts';
import {
  POSTED_INTR_NESTED_VECTOR,
  POSTED_INTR_VECTOR,
  POSTED_INTR_WAKEUP_VECTOR,
} from '#sim/state/pi_desc.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { hostVector } from '#sim/state/vcpu.ts';
import { pinControl } from '#sim/state/vmcs.ts';
import type { Json, JsonObject, Observed, Read } from '../adapter.ts';
import {
  imageOf,
  type KvmBench,
  membersOf,
  modeOf,
  type Picture,
  readRegister,
  registersOf,
} from './bench.ts';
import { done, isModelled, type LapicPage, need } from './functions.ts';
import { vapicWordOf } from './givens.ts';
import { harvest, peek } from './settle.ts';
import {
  inhibitReasons,
  logicalMaps,
  mpStates,
  nameFor,
  namesOf,
  numberOf,
  secondaryControls,
} from './words.ts';

const TMCCT = 0x390;

const vcpuOf = ({ m }: KvmBench, vcpu: number) => m.vcpu[vcpu]!;

/** What is measured against later. */
export const pictureOf = (bench: KvmBench, vcpu: number): Picture => {
  const { apic, nmi_queued, smi_pending, requests, pv_unhalted, stat, vmcs01 } = vcpuOf(
    bench,
    vcpu,
  );
  return {
    page: isModelled('kvm_apic_get_state')
      ? peek(bench, () => imageOf(bench, vcpu).slice())
      : undefined,
    irr: membersOf(apic.irr),
    tmr: membersOf(apic.tmr),
    nmi_queued,
    smi: smi_pending || requests.has(KVM_REQ.SMI),
    pending_events: apic.pending_events.word(0),
    pv_unhalted,
    kicks: stat.kicks,
    wakeups: stat.wakeups,
    guest_intr_status: vmcs01.guest_intr_status,
  };
};

/** The first word of each register slot that differs; the running count is none of them. */
export function changedWords(before: LapicPage, after: LapicPage): Record<string, number> {
  const changed: Record<string, number> = {};
  for (let offset = 0; offset < 0x400; offset += 0x10) {
    const word = offset >>> 2;
    if (offset === TMCCT || before[word] === after[word]) continue;
    changed[`0x${offset.toString(16).padStart(3, '0')}`] = after[word]!;
  }
  return changed;
}

const changedOf = (bench: KvmBench, vcpu: number): Record<string, number> => {
  const before = bench.before[vcpu]!.page;
  if (before === undefined) throw new Error('kvm_apic_get_state is not modelled yet');
  const after = peek(bench, () => {
    harvest(bench);
    return imageOf(bench, vcpu).slice();
  });
  return changedWords(before, after);
};

/** One value for a suite about one vCPU, a list by vCPU where the case gives a list. */
const forEach =
  (of: (bench: KvmBench, vcpu: number) => Observed, isList = Array.isArray): Read<KvmBench> =>
  (bench, expected) =>
    isList(expected) ? bench.m.vcpu.map((_, vcpu) => of(bench, vcpu)) : of(bench, bench.subject);

/** For values that are lists themselves. */
const ofLists = (value: Json): value is Json[] => Array.isArray(value) && value.some(Array.isArray);

const without = (now: readonly number[], before: readonly number[]): number[] =>
  now.filter((one) => !before.includes(one));

const pendingEvents = (bench: KvmBench, vcpu: number): string[] => {
  const { pending_events } = vcpuOf(bench, vcpu).apic;
  return namesOf(apicEvent, (bit) => pending_events.has(bit));
};

/** What a vCPU got that is no register: only what there is. */
function eventsOf(bench: KvmBench, vcpu: number): Record<string, Observed> {
  const now = vcpuOf(bench, vcpu);
  const before = bench.before[vcpu]!;
  const events: Record<string, Observed> = {};
  const nmi = now.nmi_queued - before.nmi_queued;
  if (nmi !== 0) events['nmi'] = nmi;
  if (!before.smi && (now.smi_pending || now.requests.has(KVM_REQ.SMI))) events['smi'] = 1;
  if (now.apic.pending_events.word(0) !== before.pending_events) {
    events['pending_events'] = pendingEvents(bench, vcpu);
    if (now.apic.pending_events.has(apicEvent.SIPI)) events['sipi_vector'] = now.apic.sipi_vector;
  }
  if (now.pv_unhalted && !before.pv_unhalted) events['pv_unhalted'] = true;
  return events;
}

/** What a vCPU received: new vectors (with PIR harvested), and events. */
function receivedBy(bench: KvmBench, vcpu: number): Record<string, Observed> {
  const [irr, tmr] = peek(bench, () => {
    harvest(bench);
    const { apic } = vcpuOf(bench, vcpu);
    return [membersOf(apic.irr), membersOf(apic.tmr)] as const;
  });
  const irr_added = without(irr, bench.before[vcpu]!.irr);
  const tmr_set = without(tmr, bench.before[vcpu]!.tmr);
  return {
    ...(irr_added.length > 0 ? { irr_added } : {}),
    ...(tmr_set.length > 0 ? { tmr_set } : {}),
    ...eventsOf(bench, vcpu),
  };
}

/** Indexes of the vCPUs that got a vector. */
const recipients: Read<KvmBench> = (bench) =>
  bench.m.vcpu.flatMap(({ index }) => ('irr_added' in receivedBy(bench, index) ? [index] : []));

const secondaryOf = (bench: KvmBench, vcpu: number): string[] => {
  const { secondary_vm_exec_control } = vcpuOf(bench, vcpu).vmcs01;
  return namesOf(secondaryControls, (bit) => secondary_vm_exec_control.has(bit));
};

const postedInterrupts = (bench: KvmBench, vcpu: number): boolean =>
  vcpuOf(bench, vcpu).vmcs01.pin_based_vm_exec_control.has(pinControl.POSTED_INTR);

const rvi = (bench: KvmBench): number =>
  vcpuOf(bench, bench.subject).vmcs01.guest_intr_status & 0xff;
const svi = (bench: KvmBench): number =>
  vcpuOf(bench, bench.subject).vmcs01.guest_intr_status >>> 8;

const vmcs01: Read<KvmBench> = (bench) => ({
  secondary: secondaryOf(bench, bench.subject),
  process_posted_interrupts: postedInterrupts(bench, bench.subject),
  rvi: rvi(bench),
  svi: svi(bench),
});

/** Words of a page, those that are asked for. */
export const wordsOf = (page: LapicPage, expected: Json): Record<string, Observed> =>
  Object.fromEntries(
    Object.keys(expected as JsonObject)
      .filter((name) => name.startsWith('0x'))
      .map((name) => [name, page[numberOf(name) >>> 2]]),
  );

const icr64 = (bench: KvmBench): bigint =>
  BigInt(readRegister(bench, bench.subject, 0x300)) |
  (BigInt(readRegister(bench, bench.subject, 0x304)) << 32n);

const internal: Read<KvmBench> = (bench, expected) => ({
  ...wordsOf(registersOf(bench, bench.subject), expected),
  icr64: icr64(bench),
});

const pid: Read<KvmBench> = (bench) => {
  const { pir, on, sn } = vcpuOf(bench, bench.subject).pi_desc;
  return { pir: membersOf(pir), on, sn };
};

const logicalMap: Read<KvmBench> = ({ m }) =>
  m.vm.apic_map.valid ? nameFor(logicalMaps, m.vm.apic_map.logical_mode) : 'none';

const notificationVectors: readonly (readonly [number, number])[] = [
  [hostVector.POSTED_INTR_NESTED, POSTED_INTR_NESTED_VECTOR],
  [hostVector.POSTED_INTR_WAKEUP, POSTED_INTR_WAKEUP_VECTOR],
  [hostVector.POSTED_INTR, POSTED_INTR_VECTOR],
];

/** Notification vectors that arrived at the CPU and were not taken yet. */
const notificationIpis: Read<KvmBench> = ({ m, subject }) =>
  notificationVectors.flatMap(([bit, vector]) =>
    m.cpu[subject]!.pending.has(bit) ? [vector] : [],
  );

const highestPending: Read<KvmBench> = (bench) =>
  peek(bench, () =>
    done(bench.m, bench.subject, need('kvm_apic_has_interrupt')(bench.m, bench.subject)),
  );

const requestsEvent = (bench: KvmBench): boolean =>
  vcpuOf(bench, bench.subject).requests.has(KVM_REQ.EVENT);

const eoiExitBitmap: Read<KvmBench> = (bench) => {
  const { eoi_exit_bitmap0, eoi_exit_bitmap1, eoi_exit_bitmap2, eoi_exit_bitmap3 } = vcpuOf(
    bench,
    bench.subject,
  ).vmcs01;
  return [eoi_exit_bitmap0, eoi_exit_bitmap1, eoi_exit_bitmap2, eoi_exit_bitmap3].map(
    (field) => (BigInt(field.word(1)) << 32n) | BigInt(field.word(0)),
  );
};

const handledVectors = (bench: KvmBench, vcpu: number): number[] =>
  membersOf(vcpuOf(bench, vcpu).ioapic_handled_vectors);

const sets = (bench: KvmBench, vcpu: number): Record<string, number[]> => {
  const { apic } = vcpuOf(bench, vcpu);
  return { irr: membersOf(apic.irr), isr: membersOf(apic.isr), tmr: membersOf(apic.tmr) };
};

/** Per-vCPU register sets, as the IOAPIC's sequences show them. */
export const perVcpuSets: Read<KvmBench> = (bench) =>
  peek(bench, () => {
    harvest(bench);
    return bench.m.vcpu.map((_, vcpu) => sets(bench, vcpu));
  });

/** Those pins of the IOAPIC whose entry has a bit. */
export const pinsWith =
  (bit: number): Read<KvmBench> =>
  ({ m }) =>
    m.vm.ioapic.redirtbl.flatMap(({ index, low }) => ((low & bit) !== 0 ? [index] : []));

/** x2APIC MSRs that one of the MSR bitmaps lets through. */
export const passedThrough =
  (access: 'x2apic_read' | 'x2apic_write'): Read<KvmBench> =>
  (bench) => {
    const intercepted = vcpuOf(bench, bench.subject).msr_bitmap[access];
    const numbers = Array.from({ length: 256 }, (_, number) => number);
    return numbers
      .filter((number) => !intercepted.has(number))
      .map((number) => `0x${(0x800 + number).toString(16)}`);
  };

export const expects: Readonly<Record<string, Read<KvmBench>>> = {
  irr: (bench) => membersOf(vcpuOf(bench, bench.subject).apic.irr),
  isr: (bench) => membersOf(vcpuOf(bench, bench.subject).apic.isr),
  tmr: (bench) => membersOf(vcpuOf(bench, bench.subject).apic.tmr),
  tpr: (bench) => vcpuOf(bench, bench.subject).apic.tpr,
  ppr: (bench) => vcpuOf(bench, bench.subject).apic.ppr,
  ldr: (bench) => vcpuOf(bench, bench.subject).apic.ldr,
  apic_id_reg: (bench) => vcpuOf(bench, bench.subject).apic.id,
  apic_base: (bench) => vcpuOf(bench, bench.subject).apic_base,
  mode: (bench) => modeOf(bench, bench.subject),
  deliverable: highestPending,
  highest_pending: highestPending,
  software_enabled: (bench) => vcpuOf(bench, bench.subject).apic.sw_enabled,
  apicv_active: forEach((bench, vcpu) => vcpuOf(bench, vcpu).apic.apicv_active),
  apicv_inhibits: ({ m }) => namesOf(inhibitReasons, (bit) => m.vm.apicv_inhibit_reasons.has(bit)),
  logical_map: logicalMap,
  vmcs01_secondary: forEach(secondaryOf, ofLists),
  process_posted_interrupts: forEach(postedInterrupts),
  vmcs01,
  vmcs01_rvi: rvi,
  vmcs01_svi: svi,
  l2_active: (bench) => vcpuOf(bench, bench.subject).guest_mode,
  changed: forEach(changedOf),
  events: forEach(eventsOf),
  per_vcpu: forEach(receivedBy),
  recipients,
  kvm_get_lapic: (bench, expected) =>
    peek(bench, () => wordsOf(imageOf(bench, bench.subject), expected)),
  internal,
  pid,
  request_event: requestsEvent,
  notification_ipis: notificationIpis,
  woken: (bench) =>
    vcpuOf(bench, bench.subject).stat.wakeups - bench.before[bench.subject]!.wakeups,
  kicked: (bench) => vcpuOf(bench, bench.subject).stat.kicks - bench.before[bench.subject]!.kicks,
  nested_pi_pending: (bench) => vcpuOf(bench, bench.subject).nested.pi_pending,
  mp_state: (bench) => nameFor(mpStates, vcpuOf(bench, bench.subject).mp_state),
  pending_events: (bench) => pendingEvents(bench, bench.subject),
  nmi: (bench) => vcpuOf(bench, bench.subject).nmi_queued - bench.before[bench.subject]!.nmi_queued,
  smi: (bench) => ('smi' in eventsOf(bench, bench.subject) ? 1 : 0),
  eoi_exit_bitmap: eoiExitBitmap,
  eoi_intercepted: forEach(handledVectors, ofLists),
  highest_stale_pending: (bench) => vcpuOf(bench, bench.subject).highest_stale_pending_ioapic_eoi,
  tmict: (bench) => vcpuOf(bench, bench.subject).apic.tmict,
  word: ({ m }) => vapicWordOf(m),
};
