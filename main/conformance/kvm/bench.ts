// The machine of a case for KVM: booted as user space would make it, then brought to its state by
// KVM's own functions.

import type { Bits } from '#sim/arena/fields.ts';
import { boot } from '#sim/boot.ts';
import { limits } from '#sim/state/limits.ts';
import type {
  ActorConfig,
  MachineConfig,
  VcpuConfig,
  VmConfig,
} from '#sim/state/machine_config.ts';
import { profileOf } from '#sim/state/switches.ts';
import { baseOf } from '#sim/steps.ts';
import type { Bench, JsonObject, Plan } from '../adapter.ts';
import { done, type Halves, type LapicPage, need } from './functions.ts';
import { halvesOf, mpStates, numberFor, numberOf, recordsOf } from './words.ts';

/** What a vCPU had before an operation, for keys that tell what is new. */
export interface Picture {
  readonly page: LapicPage | undefined;
  readonly irr: readonly number[];
  readonly tmr: readonly number[];
  readonly nmi_queued: number;
  readonly smi: boolean;
  readonly pending_events: number;
  readonly pv_unhalted: boolean;
  readonly kicks: number;
  readonly wakeups: number;
  readonly guest_intr_status: number;
}

export interface KvmBench extends Bench {
  readonly given: JsonObject;
  /** by vCPU, taken before the last operation */
  before: readonly Picture[];
  /** the vCPU that the last operation was about */
  subject: number;
  /** a vector that the guest takes and ends before the next operation, −1 for none */
  toService: number;
  /** the actor that senders and user space run as, where it is none of the vCPUs */
  readonly user: number;
}

const truth = (value: unknown): boolean => value === true;

/** Keys of `given.vm`, and what they choose. */
const vmChoices: Readonly<Record<string, (value: unknown) => Partial<VmConfig>>> = {
  x2apic_cpuid: (value) => ({ x2apicCpuid: truth(value) }),
  x2apic_32bit_ids: (value) => ({ x2apic32bitIds: truth(value) }),
  x2apic_broadcast_quirk_disabled: (value) => ({ x2apicBroadcastQuirkDisabled: truth(value) }),
  vector_hashing: (value) => ({ vectorHashing: truth(value) }),
  tsc_deadline_cpuid: (value) => ({ tscDeadlineCpuid: truth(value) }),
  irqchip: (value) => ({ irqchip: value === 'split' ? 'split' : 'kernel' }),
  maxphyaddr: (value) => ({ maxphyaddr: Number(value) }),
  bsp_id: (value) => ({ bspId: Number(value) }),
  disabled_quirks: (value) => ({ disabledQuirks: Number(value) }),
  apic_bus_cycle_ns: (value) => ({ apicBusCycleNs: Number(value) }),
  apic_bus_hz: (value) => ({ apicBusCycleNs: 1_000_000_000 / Number(value) }),
  tsc_khz: (value) => ({ tscKhz: Number(value) }),
  // Chosen in the vCPUs and in the machine itself.
  apicv: () => ({}),
  lvt_cmci: () => ({}),
};

function vmConfigOf(vm: JsonObject): Partial<VmConfig> {
  const chosen = Object.entries(vm).map(([key, value]) => {
    const choose = Object.hasOwn(vmChoices, key) ? vmChoices[key] : undefined;
    if (choose === undefined) throw new Error(`no adapter knows given "vm.${key}"`);
    return choose(value);
  });
  return Object.assign({}, ...chosen) as Partial<VmConfig>;
}

/** Actor i is vCPU i's thread; then the interrupt contexts, then user space. */
const actorsFor = (vcpus: number): ActorConfig[] => {
  const indexes = Array.from({ length: vcpus }, (_, index) => index);
  return [
    ...indexes.map(
      (index): ActorConfig => ({ name: `vcpu${index}`, kind: 'vcpu', index, program: [] }),
    ),
    ...indexes.map(
      (index): ActorConfig => ({ name: `irq${index}`, kind: 'irq', index, program: [] }),
    ),
    { name: 'user', kind: 'user', index: 0, program: [] },
  ];
};

/**
 * Frame 0, the APIC-access page, one more, and two pages of L1 behind the register pages; one that
 * is free.
 */
const framesBesides = 6;

/** Guest memory: words that a case shares with the guest, pages of L1 that it names by address. */
const memoryPages = 5;

export interface Wanted {
  readonly vm: JsonObject;
  readonly vcpus: readonly Partial<VcpuConfig>[];
}

/** A VM that was just made; the APICs are enabled, in xAPIC mode. */
export function bootFor({ given, profile }: Plan, { vm, vcpus }: Wanted): KvmBench {
  if (vcpus.length < 1 || vcpus.length > limits.vcpus) {
    throw new Error(`a VM has 1 to ${limits.vcpus} vCPUs, not ${vcpus.length}`);
  }
  const config: MachineConfig = {
    vcpus: vcpus.length,
    frames: vcpus.length + framesBesides + memoryPages,
    memoryPages,
    boot: 'settled',
    enableApicv: vm['apicv'] === true,
    vm: vmConfigOf(vm),
    apics: vcpus,
    switches: profileOf(profile)!.switches,
    actors: actorsFor(vcpus.length),
  };
  return {
    m: boot(config),
    given,
    before: [],
    subject: 0,
    toService: -1,
    user: config.actors.length - 1,
  };
}

/** `given.vcpus`; a suite about one APIC's bits has none of them. */
export function prepareVcpus(plan: Plan): KvmBench {
  const vm = (plan.given['vm'] ?? {}) as JsonObject;
  const vcpus = plan.given['vcpus'] === undefined ? [{ id: 0 }] : recordsOf(plan.given['vcpus']);
  const lvtCmci = vm['lvt_cmci'] !== false;
  const bench = bootFor(plan, {
    vm,
    vcpus: vcpus.map((one) => ({ id: numberOf(one['id']), lvtCmci })),
  });
  for (const [index, one] of vcpus.entries()) layVcpu(bench, index, one);
  return bench;
}

const knownOfVcpu = new Set(['id', 'mode', 'regs', 'mp_state']);

function layVcpu(bench: KvmBench, index: number, one: JsonObject): void {
  const unknown = Object.keys(one).find((key) => !knownOfVcpu.has(key));
  if (unknown !== undefined) throw new Error(`no adapter knows given "vcpus[].${unknown}"`);
  setMode(bench, index, String(one['mode'] ?? 'xapic'));
  if (one['regs'] !== undefined) restore(bench, index, one['regs'] as JsonObject);
  if (one['mp_state'] !== undefined) {
    bench.m.vcpu[index]!.mp_state = numberFor(mpStates, one['mp_state']);
  }
}

const APIC_BASE_ENABLE = 1 << 11;
const APIC_BASE_X2APIC = 1 << 10;
const modeMask = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
const modeBits: Readonly<Record<string, number>> = {
  disabled: 0,
  xapic: APIC_BASE_ENABLE,
  x2apic: modeMask,
};

/** The base of a vCPU with the bits of another mode. */
export function baseFor({ m }: Bench, vcpu: number, mode: string): Halves {
  const { low, high } = halvesOf(m.vcpu[vcpu]!.apic_base);
  return { low: ((low & ~modeMask) | numberFor(modeBits, mode)) >>> 0, high };
}

export const modeOf = ({ m }: Bench, vcpu: number): string => {
  const { apic_base } = m.vcpu[vcpu]!;
  const bits = (apic_base % 2 ** 32) & modeBits['x2apic']!;
  return Object.keys(modeBits).find((mode) => modeBits[mode] === bits) ?? 'invalid';
};

/** Writes IA32_APIC_BASE; other than 0 is a refusal. */
export function setBase({ m }: Bench, vcpu: number, base: Halves, host: boolean): number {
  return done(m, vcpu, need('kvm_apic_set_base')(m, vcpu, base.low, base.high, host));
}

/** As user space does it, which may change any mode into any other. */
export function setMode(bench: KvmBench, vcpu: number, mode: string): void {
  if (modeOf(bench, vcpu) === mode) return;
  const refused = setBase(bench, vcpu, baseFor(bench, vcpu, mode), true);
  if (refused !== 0) throw new Error(`KVM refuses to set the mode ${mode}`);
}

/** KVM_SET_LAPIC of the image that KVM_GET_LAPIC gives, with some words changed. */
export function restore(bench: KvmBench, vcpu: number, words: JsonObject): number {
  const { m } = bench;
  const page = imageOf(bench, vcpu).slice();
  for (const [offset, value] of Object.entries(words)) {
    page[numberOf(offset) >>> 2] = halvesOf(value).low;
  }
  return done(m, vcpu, need('kvm_apic_set_state')(m, vcpu, page));
}

/** The image that KVM_GET_LAPIC gives, without harvesting PIR first. */
export const imageOf = ({ m }: Bench, vcpu: number): LapicPage =>
  done(m, vcpu, need('kvm_apic_get_state')(m, vcpu));

/** The register page as KVM keeps it, words by offset. */
export const registersOf = ({ m }: Bench, vcpu: number): Uint32Array => {
  const word = baseOf(m.vcpu[vcpu]!.apic);
  return m.arena.words.subarray(word, word + 256);
};

export const setRegister = ({ m }: Bench, vcpu: number, offset: number, value: number): void =>
  m.arena.store(baseOf(m.vcpu[vcpu]!.apic) + (offset >>> 2), value >>> 0);

export const readRegister = (bench: Bench, vcpu: number, offset: number): number =>
  registersOf(bench, vcpu)[offset >>> 2]!;

/** The members of a set, ascending. */
export const membersOf = (bits: Pick<Bits, 'width' | 'word'>): number[] => {
  const found: number[] = [];
  for (let i = 0; i < Math.ceil(bits.width / 32); i++) {
    for (let word = bits.word(i); word !== 0; word &= word - 1) {
      found.push(i * 32 + 31 - Math.clz32(word & -word));
    }
  }
  return found;
};
