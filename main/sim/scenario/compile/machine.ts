/** The `machine` block: its keys, and what a machine is that says nothing. */
import { limits } from '../../state/limits.ts';
import { usualVm, type VcpuConfig, type VmConfig } from '../../state/machine_config.ts';
import { quirk } from '../../state/vm.ts';
import { instead } from '../diagnostics.ts';
import type { Word } from '../parse/tree.ts';
import { numberIn, type Report } from './context.ts';
import { idsOf } from './vcpu_ids.ts';

export interface MachineKey {
  readonly key:
    | 'vcpus'
    | 'frames'
    | 'memory'
    | 'boot'
    | 'apicv'
    | 'x2apic'
    | 'interrupts'
    | 'irqchip'
    | 'nested'
    | 'evmcs'
    | 'guest-memory'
    | 'vector-hashing'
    | 'eoi-storm'
    | 'preemption-timer'
    | 'pi-inject-timer'
    | 'hlt-in-guest'
    | 'mwait-in-guest'
    | 'mmio-caching'
    | 'ipiv'
    | 'td'
    | 'slot-pages'
    | 'apic-id'
    | 'max-vcpu-id'
    | 'bsp'
    | 'x2apic-ids'
    | 'broadcast-quirk'
    | 'disabled-quirks'
    | 'x2apic-cpuid'
    | 'tsc-deadline'
    | 'cmci'
    | 'tsc-khz'
    | 'bus-cycle-ns'
    | 'min-timer-period-us'
    | 'maxphyaddr';
  readonly doc: string;
  /** the words that it takes, or the numbers */
  readonly values: readonly string[] | { readonly min: number; readonly max: number };
  /** what KVM answers to another number */
  readonly answer?: string;
  /** it takes as many of them as stand behind it */
  readonly list?: true;
  readonly usual: string;
}

/** Frame 0, the APIC-access page, and one to migrate it to. */
const framesBesides = 3;

export const machineKeys: readonly MachineKey[] = [
  {
    key: 'vcpus',
    values: { min: 1, max: limits.vcpus },
    usual: '1',
    doc: 'virtual CPUs; each has a physical CPU of its own',
  },
  {
    key: 'frames',
    values: { min: framesBesides + 1, max: limits.frames },
    usual: `${limits.framesDefault}, or as many as are needed`,
    doc:
      'page frames of the host: the reserved frame 0, a register page for each vCPU, ' +
      'the APIC-access page, guest memory, and at least one that is free',
  },
  {
    key: 'memory',
    values: { min: 0, max: limits.memoryPages },
    usual: '0',
    doc: 'pages of guest memory, from guest-physical address 0',
  },
  {
    key: 'boot',
    values: ['settled', 'reset'],
    usual: 'settled',
    doc: 'settled: the APIC-access page is loaded and mapped; reset: as vCPU creation leaves it',
  },
  {
    key: 'apicv',
    values: ['on', 'off'],
    usual: 'on',
    doc: 'module parameter enable_apicv',
  },
  {
    key: 'x2apic',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'the local APICs are in x2APIC mode: their registers are MSRs 0x800 to 0x8ff',
  },
  {
    key: 'interrupts',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'on: the guests have enabled their APICs (SPIV bit 8) and interrupts (STI) already',
  },
  {
    key: 'nested',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'on: the guests see VMX and can run guests of their own (module parameter nested)',
  },
  {
    key: 'evmcs',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'on: with nested, the guests may use enlightened VMCSs (KVM_CAP_HYPERV_ENLIGHTENED_VMCS)',
  },
  {
    key: 'guest-memory',
    values: ['managed', 'unmanaged'],
    usual: 'managed',
    doc: 'unmanaged: guest memory has no struct page (mem=, PFN maps): nothing can hold it, and KVM maps it with memremap',
  },
  {
    key: 'irqchip',
    values: ['kernel', 'split'],
    usual: 'kernel',
    doc: 'split: IOAPIC and PIC are in user space, the local APICs in KVM',
  },
  {
    key: 'vector-hashing',
    values: ['on', 'off'],
    usual: 'on',
    doc: 'lowest priority chooses the vCPU by the vector; off: who has had the fewest turns',
  },
  {
    key: 'eoi-storm',
    values: { min: 1, max: usualVm.ioapicStormCount },
    usual: String(usualVm.ioapicStormCount),
    doc:
      'as many EOIs in a row that find the line of a pin asserted are an interrupt storm: the ' +
      'next one comes 10 ms later (IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT)',
  },
  {
    key: 'preemption-timer',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'module parameter preemption_timer: while a vCPU runs, its CPU counts for the APIC timer',
  },
  {
    key: 'pi-inject-timer',
    values: ['on', 'off'],
    usual: 'off',
    doc:
      'module parameter pi_inject_timer: the hrtimer posts its interrupt to a vCPU that runs; ' +
      'needs "apicv on" and "hlt-in-guest on"',
  },
  {
    key: 'hlt-in-guest',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'KVM_X86_DISABLE_EXITS_HLT: a guest that halts stays on its CPU',
  },
  {
    key: 'mmio-caching',
    values: ['on', 'off'],
    usual: 'off',
    doc:
      'module parameter mmio_caching: what is no memory for L2 leaves an entry in its EPT, so that ' +
      'the next access is an EPT misconfiguration; a real kernel has it on',
  },
  {
    key: 'mwait-in-guest',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'KVM_X86_DISABLE_EXITS_MWAIT: the VMX preemption timer cannot stand in for the hrtimer',
  },
  {
    key: 'ipiv',
    values: ['on', 'off'],
    usual: 'off',
    doc: 'module parameter enable_ipiv: the CPU posts fixed IPIs to one vCPU itself',
  },
  {
    key: 'td',
    values: ['on', 'off'],
    usual: 'off',
    doc:
      'the VM is a trust domain (TDX): KVM cannot see its IRR and ISR. Its APICs are in x2APIC ' +
      'mode, and its IOAPIC is in user space',
  },
  {
    key: 'slot-pages',
    values: { min: 1, max: limits.memoryPages },
    usual: 'all of guest memory',
    doc: 'pages of each memslot: 1 gives each page of guest memory a slot, numbered as the page',
  },
  {
    key: 'apic-id',
    values: { min: 0, max: limits.vcpuIds - 1 },
    answer: 'KVM_CREATE_VCPU fails with EINVAL',
    list: true,
    usual: '0 1 2 …, the number of the vCPU',
    doc: 'vCPU (APIC) ID of each vCPU, as KVM_CREATE_VCPU gets it: apic-id 0 4 9',
  },
  {
    key: 'max-vcpu-id',
    values: { min: 1, max: limits.vcpuIds },
    answer: 'KVM_ENABLE_CAP fails with EINVAL',
    usual: 'as many as the vCPUs need',
    doc: 'KVM_CAP_MAX_VCPU_ID: vCPU IDs are below it, and the PID-pointer table ends there (ipiv)',
  },
  {
    key: 'bsp',
    values: { min: 0, max: limits.vcpuIds },
    answer: 'KVM_SET_BOOT_CPU_ID fails with EINVAL',
    usual: String(usualVm.bspId),
    doc: 'APIC ID of the boot processor (KVM_SET_BOOT_CPU_ID)',
  },
  {
    key: 'x2apic-ids',
    values: ['8bit', '32bit'],
    usual: '8bit',
    doc: '32bit: KVM_X2APIC_API_USE_32BIT_IDS, in MSIs and in register pages of user space',
  },
  {
    key: 'broadcast-quirk',
    values: ['on', 'off'],
    usual: 'on',
    doc: 'off: KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, an MSI to 0xff is no broadcast in x2APIC mode',
  },
  {
    key: 'disabled-quirks',
    values: Object.keys(quirk),
    list: true,
    usual: 'none',
    doc: 'KVM_CAP_DISABLE_QUIRKS: names of KVM_X86_QUIRK_*',
  },
  {
    key: 'x2apic-cpuid',
    values: ['on', 'off'],
    usual: 'on',
    doc: 'off: the guest does not see x2APIC in CPUID, and cannot enter that mode',
  },
  {
    key: 'tsc-deadline',
    values: ['on', 'off'],
    usual: 'on',
    doc: 'off: the guest does not see the TSC-deadline timer in CPUID',
  },
  {
    key: 'cmci',
    values: ['on', 'off'],
    usual: 'on',
    doc: 'off: the local vector tables have no entry for CMCI (MCG_CMCI_P)',
  },
  {
    key: 'tsc-khz',
    values: { min: 1, max: 0xffff_ffff },
    usual: String(usualVm.tscKhz),
    doc: 'frequency of the guest TSC (KVM_SET_TSC_KHZ)',
  },
  {
    key: 'bus-cycle-ns',
    values: { min: 1, max: 1_000_000 },
    usual: String(usualVm.apicBusCycleNs),
    doc: 'ns of a tick of the APIC timer before its divisor (KVM_CAP_X86_APIC_BUS_CYCLES_NS)',
  },
  {
    key: 'min-timer-period-us',
    values: { min: 0, max: 1_000_000 },
    usual: String(usualVm.minTimerPeriodUs),
    doc: 'module parameter: shorter periods of the APIC timer are stretched to it',
  },
  {
    key: 'maxphyaddr',
    values: { min: 32, max: 52 },
    usual: String(usualVm.maxphyaddr),
    doc: 'bits of a guest-physical address: those above are reserved in IA32_APIC_BASE',
  },
];

export interface MachineSize {
  readonly vcpus: number;
  readonly frames: number;
  readonly memoryPages: number;
  readonly boot: 'settled' | 'reset';
  readonly enableApicv: boolean;
  /** pages of a memslot, where guest memory is more than one */
  readonly slotPages?: number;
  /** what is not as usual */
  readonly vm?: Partial<VmConfig>;
  readonly apics?: readonly Partial<VcpuConfig>[];
}

type Value = number | string;

interface Said {
  readonly word: Word;
  readonly value: Value;
  /** everything that stands behind a key that takes a list */
  readonly all: readonly { readonly word: Word; readonly value: Value }[];
  /** words behind the key, those that mean nothing included */
  readonly count: number;
}

type Given = Map<string, Said>;

const isOn = (given: Given, key: MachineKey['key']): boolean => given.get(key)?.value === 'on';

/** With IPI virtualization there is a PID-pointer table, and a TD hides its virtual-APIC pages. */
const framesNeeded = (given: Given, vcpus: number, memoryPages: number): number =>
  framesBesides +
  vcpus +
  memoryPages +
  (isOn(given, 'ipiv') ? 1 : 0) +
  (isOn(given, 'td') ? vcpus : 0);

/** What a trust domain cannot be without, and why. */
const neededByTd = [
  { key: 'apicv', not: 'off', why: 'the TDX module runs a TD with APICv' },
  { key: 'irqchip', not: 'kernel', why: 'KVM cannot see the EOIs that its IOAPIC would need' },
  { key: 'x2apic', not: 'off', why: 'the APICs of a TD are in x2APIC mode' },
] as const;

const checkTd = (given: Given, report: Report): void => {
  if (!isOn(given, 'td')) return;
  for (const { key, not, why } of neededByTd) {
    const found = given.get(key);
    if (found?.value === not) report(found.word, `not with "td on": ${why}; leave ${key} out`);
  }
};

const readValue = (
  { key, values, answer }: MachineKey,
  word: Word,
  report: Report,
): Value | undefined => {
  if ('min' in values) {
    const what = answer === undefined ? `"${key}"` : `${answer}: "${key}"`;
    return numberIn(word, { ...values, what }, report);
  }
  if (values.includes(word.text)) return word.text;
  report(word, `"${key}" is not "${word.text}"; ${instead(word.text, values)}`);
  return undefined;
};

const keyOf = (word: Word | undefined): MachineKey | undefined =>
  machineKeys.find(({ key }) => key === word?.text);

/** The words that are the value of a key: one, or all up to the next key. */
const valuesBehind = (
  { list }: MachineKey,
  words: readonly Word[],
  at: number,
): readonly Word[] => {
  if (list !== true) return words.slice(at + 1, at + 2);
  const behind = words.slice(at + 1);
  const end = behind.findIndex((word) => keyOf(word) !== undefined);
  return end < 0 ? behind : behind.slice(0, end);
};

/** Keys with their values; a key without one, or a value without a key, is reported. */
const readWords = (words: readonly Word[], report: Report): Given => {
  const given: Given = new Map();
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    const key = keyOf(word);
    if (key === undefined) {
      const names = machineKeys.map((k) => k.key);
      report(word, `a machine has no "${word.text}"; ${instead(word.text, names)}`);
      // What follows an unknown key is its value, unless it is a key itself.
      if (words[i + 1] !== undefined && keyOf(words[i + 1]) === undefined) i++;
      continue;
    }
    const next = words[i + 1];
    if (next === undefined || keyOf(next) !== undefined) {
      report(word, `"${key.key}" has no value; write it behind`);
      continue;
    }
    const values = valuesBehind(key, words, i);
    i += values.length;
    if (given.has(key.key)) report(word, `"${key.key}" is given twice; keep one`);
    const all = values.flatMap((one) => {
      const value = readValue(key, one, report);
      return value === undefined ? [] : [{ word: one, value }];
    });
    if (all[0] !== undefined) given.set(key.key, { ...all[0], all, count: values.length });
  }
  return given;
};

/** Stands in for a machine block that could not be read: it forbids nothing. */
export const largestMachine: MachineSize = {
  vcpus: limits.vcpus,
  memoryPages: limits.memoryPages,
  frames: limits.frames,
  boot: 'settled',
  enableApicv: true,
};

/** Keys whose number is a property of the VM. */
const numbersOfVm = {
  'eoi-storm': 'ioapicStormCount',
  bsp: 'bspId',
  'max-vcpu-id': 'maxVcpuIds',
  'tsc-khz': 'tscKhz',
  'bus-cycle-ns': 'apicBusCycleNs',
  'min-timer-period-us': 'minTimerPeriodUs',
  maxphyaddr: 'maxphyaddr',
} as const satisfies Partial<Record<MachineKey['key'], keyof VmConfig>>;

/** Keys of which one word is unusual, with what that says. */
const wordsOfVm: readonly (readonly [MachineKey['key'], string, Partial<VmConfig>])[] = [
  ['irqchip', 'split', { irqchip: 'split' }],
  ['td', 'on', { irqchip: 'split', td: true }],
  ['nested', 'on', { nested: true }],
  ['evmcs', 'on', { evmcs: true }],
  ['guest-memory', 'unmanaged', { guestMemory: 'unmanaged' }],
  ['vector-hashing', 'off', { vectorHashing: false }],
  ['preemption-timer', 'on', { preemptionTimer: true }],
  ['pi-inject-timer', 'on', { piInjectTimer: true }],
  ['hlt-in-guest', 'on', { hltInGuest: true }],
  ['mmio-caching', 'on', { mmioCaching: true }],
  ['mwait-in-guest', 'on', { mwaitInGuest: true }],
  ['ipiv', 'on', { ipiv: true }],
  ['x2apic-ids', '32bit', { x2apic32bitIds: true }],
  ['broadcast-quirk', 'off', { x2apicBroadcastQuirkDisabled: true }],
  ['x2apic-cpuid', 'off', { x2apicCpuid: false }],
  ['tsc-deadline', 'off', { tscDeadlineCpuid: false }],
];

const vmOf = (given: Given): Partial<VmConfig> => {
  const numbers = Object.entries(numbersOfVm).flatMap(([key, name]) => {
    const said = given.get(key);
    return said === undefined ? [] : [[name, said.value]];
  });
  const words = wordsOfVm.filter(([key, word]) => given.get(key)?.value === word);
  const quirks = given.get('disabled-quirks')?.all ?? [];
  const mask = quirks.reduce((m, { value }) => m | (1 << quirk[value as keyof typeof quirk]), 0);
  return {
    ...(Object.fromEntries(numbers) as Partial<VmConfig>),
    ...Object.assign({}, ...words.map(([, , config]) => config)),
    ...(mask === 0 ? {} : { disabledQuirks: mask }),
  };
};

/** What the words say of the VM and of each local APIC; nothing where all is usual. */
const apicsOf = (
  given: Given,
  vcpus: number,
  report: Report,
): Pick<MachineSize, 'vm' | 'apics'> => {
  const vm = vmOf(given);
  const end = given.get('max-vcpu-id');
  const ids = idsOf(given.get('apic-id'), vcpus, end, report);
  const x2apic = given.get('x2apic');
  if (isOn(given, 'x2apic') && vm.x2apicCpuid === false) {
    report(x2apic!.word, 'KVM refuses x2APIC mode with "x2apic-cpuid off"; leave one of them out');
  }
  const apic: Partial<VcpuConfig> = {
    ...(isOn(given, 'x2apic') || isOn(given, 'td') ? { mode: 'x2apic' } : {}),
    ...(isOn(given, 'interrupts') ? { interrupts: true } : {}),
    ...(given.get('cmci')?.value === 'off' ? { lvtCmci: false } : {}),
  };
  const plain = ids === undefined && Object.keys(apic).length === 0;
  const apics = Array.from({ length: vcpus }, (_, index) =>
    ids === undefined ? apic : { ...apic, id: ids[index]! },
  );
  return { ...(Object.keys(vm).length > 0 ? { vm } : {}), ...(plain ? {} : { apics }) };
};

/** The machine that the words describe; what they do not say is usual. */
export const machineOf = (words: readonly Word[], report: Report): MachineSize => {
  const given = readWords(words, report);
  const number = (key: string, usual: number): number => Number(given.get(key)?.value ?? usual);
  const vcpus = number('vcpus', 1);
  const memoryPages = number('memory', 0);
  const slotPages = given.get('slot-pages')?.value;
  checkTd(given, report);
  const needed = framesNeeded(given, vcpus, memoryPages);
  const frames = number('frames', Math.max(limits.framesDefault, needed));
  const said = given.get('frames')?.word;
  if (said !== undefined && frames < needed) {
    report(said, `this machine needs at least ${needed} frames; write a greater number`);
  }
  return {
    vcpus,
    memoryPages,
    frames: Math.max(frames, needed),
    boot: given.get('boot')?.value === 'reset' ? 'reset' : 'settled',
    enableApicv: given.get('apicv')?.value !== 'off',
    ...(slotPages === undefined ? {} : { slotPages: Number(slotPages) }),
    ...apicsOf(given, vcpus, report),
  };
};
