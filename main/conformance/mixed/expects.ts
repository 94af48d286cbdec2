// What a case expects, read from what its scenario has shown.
// Each key that has a field in the machine, or an event that leaves a trace, is compared. Those in
// `toldByScenario` cannot be: for them the expectations that are written in the scenario stand.

import { MSR_IA32_APICBASE_ENABLE, X2APIC_ENABLE } from '#sim/state/apicdef.ts';
import { mpState } from '#sim/state/vcpu.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import { exitReason } from '#sim/state/vmcs.ts';
import { isObject, type Json, type JsonObject, type Observed } from '../adapter.ts';
import type { Evidence, Seen } from './evidence.ts';

/** How far the steps of the case have come in what the run has shown. */
interface Cursor {
  exits: number;
  interrupts: number;
  faults: number;
  values: number;
  bases: number;
}

export interface Reading {
  readonly evidence: Evidence;
  /** how many cases the scenario tells */
  readonly share: number;
  readonly cursors: readonly Cursor[];
  inhibits: number;
  /** the step that is looked at; none at the end of the case */
  op: JsonObject | undefined;
  /** of this step: the vCPU that the actor is or, for user space, that the case is about */
  vcpu: number;
  /** the exit that this step is about */
  exit: Seen['exits'][number] | undefined;
}

export const readingOf = (evidence: Evidence, share: number): Reading => ({
  evidence,
  share,
  cursors: evidence.vcpus.map(() => {
    return { exits: 0, interrupts: 0, faults: 0, values: 0, bases: 0 };
  }),
  inhibits: 0,
  op: undefined,
  vcpu: 0,
  exit: undefined,
});

const seenBy = ({ evidence, vcpu }: Reading): Seen => evidence.vcpus[vcpu]!;
const cursorOf = ({ cursors, vcpu }: Reading): Cursor => cursors[vcpu]!;

/** The next exit of the vCPU belongs to this step. */
const exitHere = (r: Reading): Seen['exits'][number] | undefined => {
  r.exit ??= seenBy(r).exits[cursorOf(r).exits++];
  return r.exit;
};

/** INIT_SIGNAL is INIT to a case. EOI_INDUCED has a second name in the manual. */
const nameOf = (reason: number): string => {
  const [name = ''] = Object.entries(exitReason).find(([, value]) => value === reason) ?? [];
  return name === 'EOI_INDUCED' ? 'VIRTUALIZED_EOI' : name.replace(/_SIGNAL$/, '');
};

const takeInterrupts = (r: Reading, count: number): Seen['interrupts'] => {
  const cursor = cursorOf(r);
  const taken = seenBy(r).interrupts.slice(cursor.interrupts, cursor.interrupts + count);
  cursor.interrupts += taken.length;
  return taken;
};

const allInterrupts = ({ evidence }: Reading): Seen['interrupts'] =>
  evidence.vcpus.flatMap(({ interrupts }) => interrupts);

const onlyOne = <T>(values: readonly T[]): T | undefined =>
  new Set(values).size === 1 ? values[0] : undefined;

const levelName = (level: number | undefined): string => `l${String(level ?? 'none')}`;

/** The next of the values from the cursor on that fits; −1 if none does. */
const findNext = (r: Reading, fits: (value: number) => boolean): number => {
  const cursor = cursorOf(r);
  const { values } = seenBy(r);
  const at = values.findIndex((value, i) => i >= cursor.values && fits(value));
  if (at >= 0) cursor.values = at + 1;
  return at;
};

/** A bit of what is compared next. */
const bitOfNext = (r: Reading, bit: number): number | undefined => {
  const at = findNext(r, () => true);
  return at < 0 ? undefined : (seenBy(r).values[at]! >>> bit) & 1;
};

/** Not all that a scenario compares is in its case: those before the one that fits are skipped. */
const value = (r: Reading, expected: Json): Observed => {
  const wanted = Number(expected);
  // "unchanged", "old ^ 0xf", "version register": the scenario has the number.
  if (Number.isNaN(wanted)) return expected;
  const bit = r.op?.['op'] === 'reg.read-bit' ? Number(r.op['vector']) % 32 : undefined;
  const shown = (v: number): number => (bit === undefined ? v : (v >>> bit) & 1);
  const at = findNext(r, (v) => shown(v) === wanted);
  return at < 0 ? undefined : shown(seenBy(r).values[at]!);
};

const modes: Readonly<Record<number, string>> = {
  0: 'disabled',
  [MSR_IA32_APICBASE_ENABLE]: 'xapic',
  [MSR_IA32_APICBASE_ENABLE | X2APIC_ENABLE]: 'x2apic',
};
const modeOf = (base: number): string | undefined =>
  modes[base & (MSR_IA32_APICBASE_ENABLE | X2APIC_ENABLE)];

const mode = (r: Reading, expected: Json): Observed => {
  const cursor = cursorOf(r);
  const { bases } = seenBy(r);
  const at = bases.findIndex((base, i) => i >= cursor.bases && modeOf(base) === expected);
  if (at < 0) return modeOf(bases.at(-1)!);
  cursor.bases = at;
  return modeOf(bases[at]!);
};

const reasonNames = (reasons: number): string[] =>
  Object.entries(apicvInhibitReason)
    .filter(([, bit]) => (reasons & (1 << bit)) !== 0)
    .map(([name]) => name);

const apicvInhibits = (r: Reading, expected: Json): Observed => {
  const { inhibits } = r.evidence;
  const wanted = JSON.stringify(expected);
  const at = inhibits.findIndex(
    (reasons, i) => i >= r.inhibits && JSON.stringify(reasonNames(reasons)) === wanted,
  );
  if (at >= 0) r.inhibits = at;
  return reasonNames(inhibits[at < 0 ? inhibits.length - 1 : at]!);
};

/** L2 has gone on if it came to the VMCALL that ends its program. */
const l2GoesOn = (r: Reading): boolean =>
  seenBy(r).exits[cursorOf(r).exits]?.reason === exitReason.VMCALL;

const isReset = ({ evidence, vcpu }: Reading): boolean =>
  evidence.m.vcpu[vcpu]!.guest.cs_base === resetCsBase;
const resetCsBase = 0xffff_0000;

const waitsForSipi = ({ evidence, vcpu }: Reading): boolean =>
  evidence.m.vcpu[vcpu]!.mp_state === mpState.INIT_RECEIVED;

const remoteIrrBit = 14;
const remoteIrr = ({ evidence }: Reading, pin: number): number =>
  (evidence.m.vm.ioapic.redirtbl[pin]!.low >>> remoteIrrBit) & 1;

const timesOf = (vectors: readonly number[]): Readonly<Record<string, number>> => {
  const times: Record<string, number> = {};
  for (const vector of vectors) times[vector] = (times[vector] ?? 0) + 1;
  return times;
};

/** How often the handlers ran; in a step no more often than at the end of the run. */
const handlerRuns = (r: Reading, expected: Json): Observed =>
  isObject(expected)
    ? timesOf(allInterrupts(r).map(({ vector }) => vector))
    : Math.min(Number(expected), seenBy(r).interrupts.length);

const outcome = (r: Reading, expected: Json): Observed => {
  if (expected === 'vm-exit') return exitHere(r) === undefined ? 'no exit' : expected;
  if (expected === '#GP') return cursorOf(r).faults++ < seenBy(r).faults ? expected : 'completes';
  // That a write went well, or was lost, is told by what the scenario compares behind it.
  return expected;
};

type ReadKey = (r: Reading, expected: Json) => Observed;

export const expects: Readonly<Record<string, ReadKey>> = {
  outcome,
  value,
  mode,
  exit_reason: (r) => exitHere(r)?.reason,
  exit_name: (r) => nameOf(exitHere(r)?.reason ?? exitReason.NONE),
  exit_to_l1: (r) => nameOf(exitHere(r)?.reason ?? exitReason.NONE),
  guest_instructions_executed: (r) => exitHere(r)?.executed,
  exits_to_l1: ({ evidence }) =>
    evidence.vcpus.flatMap(({ exits }) =>
      exits.map(({ reason }) => {
        return { outcome: 'vm-exit', exit_reason: reason, exit_name: nameOf(reason) };
      }),
    ),
  not_exits: ({ evidence }, expected) => {
    const seen = evidence.vcpus.flatMap(({ exits }) => exits.map(({ reason }) => nameOf(reason)));
    return Array.isArray(expected) ? expected.filter((name) => !seen.includes(name)) : undefined;
  },
  guest_runs: l2GoesOn,
  l2_continues: l2GoesOn,
  l2_continues_after_hlt: l2GoesOn,
  keeps_running: (r) => !waitsForSipi(r) && l2GoesOn(r),
  reset_by_init: isReset,
  nmi_delivered_to_l2: ({ evidence }) =>
    evidence.m.vcpu.reduce((sum, { guest }) => sum + guest.nmis, 0),
  delivered: (r, expected) => {
    const count = Array.isArray(expected) ? expected.length : 0;
    // "Nothing" is nothing more up to the end.
    const taken = takeInterrupts(r, count === 0 ? Number.POSITIVE_INFINITY : count);
    return taken.map(({ vector }) => vector);
  },
  delivered_in: (r) => {
    const levels = (r.op === undefined ? allInterrupts(r) : takeInterrupts(r, 1)).map(
      ({ level }) => level,
    );
    return levelName(onlyOne(levels));
  },
  vector: (r) => onlyOne(allInterrupts(r).map(({ vector }) => vector)),
  handler_runs: handlerRuns,
  handler_runs_once: (r) => takeInterrupts(r, 1).length === 1,
  handler_runs_total: (r) => allInterrupts(r).length / r.share,
  handled_by: ({ evidence }) =>
    evidence.vcpus
      .flatMap(({ interrupts }, vcpu) => (interrupts.length > 0 ? [`cpu${vcpu}`] : []))
      .join(', '),
  // TMR keeps the trigger mode of the last acceptance.
  tmr_bit_in_handler: (r) => {
    const vector = onlyOne(allInterrupts(r).map((one) => one.vector));
    const { apic } = r.evidence.m.vcpu[r.vcpu]!;
    return vector === undefined ? undefined : Number(apic.tmr.has(vector));
  },
  ioapic_remote_irr: (r, expected) =>
    Object.fromEntries(
      Object.keys(isObject(expected) ? expected : {}).map((pin) => [
        pin,
        remoteIrr(r, Number(pin)),
      ]),
    ),
  remote_irr_finally: (r) =>
    r.evidence.m.vm.ioapic.redirtbl.reduce((or, _, pin) => or | remoteIrr(r, pin), 0),
  apicv_inhibits: apicvInhibits,
  enabled: (r) => (seenBy(r).bases[0]! & MSR_IA32_APICBASE_ENABLE) !== 0,
  bit8: (r) => bitOfNext(r, 8),
  cpuid_1_edx_apic: (r) => bitOfNext(r, 9),
  one_of: (r, expected) => {
    const allowed = Array.isArray(expected) ? expected.map(Number) : [];
    return findNext(r, (v) => allowed.includes(v)) < 0 ? undefined : (expected as Observed);
  },
  below: (r, expected) =>
    findNext(r, (v) => v < Number(expected)) < 0 ? undefined : (expected as Observed),
  nonzero: (r) => findNext(r, (v) => v !== 0) >= 0,
};

/** What leaves no trace that a run could be searched for: the scenario itself expects it. */
export const toldByScenario: ReadonlySet<string> = new Set([
  // Registers in the page of KVM_GET_LAPIC: `verify-lapic` compares them, and keeps nothing.
  '0x020',
  // Three registers and one class: bits of TPR and PPR that no case names are free.
  'all_equal',
  // Ioctls that succeed go without saying. That KVM_SET_BOOT_CPU_ID is too late (EBUSY) once there
  // are vCPUs cannot be asked: a scenario begins with them.
  'return',
  // The program begins again: it compares once more, and finds the registers of a reset.
  'hard_reset',
  'resumes_once_at_reset_vector',
  // Sentences.
  'also_while',
  'each_ipi',
  'never',
]);
