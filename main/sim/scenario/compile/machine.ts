/** The `machine` block: its keys, and what a machine is that says nothing. */
import { limits } from '../../state/limits.ts';
import type { VcpuConfig, VmConfig } from '../../state/program.ts';
import { instead } from '../diagnostics.ts';
import type { Word } from '../parse/tree.ts';
import { numberIn, type Report } from './context.ts';

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
    | 'guest-memory'
    | 'vector-hashing';
  readonly doc: string;
  /** the words that it takes, or the numbers */
  readonly values: readonly string[] | { readonly min: number; readonly max: number };
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
];

export interface MachineSize {
  readonly vcpus: number;
  readonly frames: number;
  readonly memoryPages: number;
  readonly boot: 'settled' | 'reset';
  readonly enableApicv: boolean;
  /** what is not as usual */
  readonly vm?: Partial<VmConfig>;
  readonly apics?: readonly Partial<VcpuConfig>[];
}

export const framesNeeded = (vcpus: number, memoryPages: number): number =>
  framesBesides + vcpus + memoryPages;

type Given = Map<string, { readonly word: Word; readonly value: number | string }>;

const readValue = (
  { key, values }: MachineKey,
  word: Word,
  report: Report,
): number | string | undefined => {
  if ('min' in values) return numberIn(word, { ...values, what: `"${key}"` }, report);
  if (values.includes(word.text)) return word.text;
  report(word, `"${key}" is not "${word.text}"; ${instead(word.text, values)}`);
  return undefined;
};

const keyOf = (word: Word | undefined): MachineKey | undefined =>
  machineKeys.find(({ key }) => key === word?.text);

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
    i++;
    if (given.has(key.key)) report(word, `"${key.key}" is given twice; keep one`);
    const value = readValue(key, next, report);
    if (value !== undefined) given.set(key.key, { word: next, value });
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

/** What the words say of the VM and of each local APIC; nothing where all is usual. */
const apicsOf = (given: Given, vcpus: number): Pick<MachineSize, 'vm' | 'apics'> => {
  const word = (key: MachineKey['key']): unknown => given.get(key)?.value;
  const vm: Partial<VmConfig> = {
    ...(word('irqchip') === 'split' ? { irqchip: 'split' } : {}),
    ...(word('nested') === 'on' ? { nested: true } : {}),
    ...(word('guest-memory') === 'unmanaged' ? { guestMemory: 'unmanaged' } : {}),
    ...(word('vector-hashing') === 'off' ? { vectorHashing: false } : {}),
  };
  const apic: Partial<VcpuConfig> = {
    ...(word('x2apic') === 'on' ? { mode: 'x2apic' } : {}),
    ...(word('interrupts') === 'on' ? { interrupts: true } : {}),
  };
  return {
    ...(Object.keys(vm).length > 0 ? { vm } : {}),
    ...(Object.keys(apic).length > 0 ? { apics: Array.from({ length: vcpus }, () => apic) } : {}),
  };
};

/** The machine that the words describe; what they do not say is usual. */
export const machineOf = (words: readonly Word[], report: Report): MachineSize => {
  const given = readWords(words, report);
  const number = (key: string, usual: number): number => Number(given.get(key)?.value ?? usual);
  const vcpus = number('vcpus', 1);
  const memoryPages = number('memory', 0);
  const needed = framesNeeded(vcpus, memoryPages);
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
    ...apicsOf(given, vcpus),
  };
};
