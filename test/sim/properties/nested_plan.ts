// A small random hypervisor: vCPU 0 runs an L1 with an L2, vCPU 1 an L1 that posts interrupts to
// that L2, and a device interrupts both. A plan is plain data, as in `plan.ts`.

import fc from 'fast-check';
import { boot } from '#sim/boot.ts';
import { readFrame } from '#sim/hw/memory.ts';
import { APIC_DEFAULT_PHYS_BASE, hvaOfGuestPage } from '#sim/state/addresses.ts';
import { APIC_ICR, APIC_ICR2 } from '#sim/state/apicdef.ts';
import type { ActorConfig } from '#sim/state/machine_config.ts';
import type { Instruction, Op, Program } from '#sim/state/program.ts';
import { profileOf } from '#sim/state/switches.ts';
import { cpuControl, exitControl, pinControl, secondaryControl } from '#sim/state/vmcs.ts';
import { VMCS12_REVISION, vmcs12Fields } from '#sim/state/vmcs12.ts';
import type { Machine } from '#sim/steps.ts';
import type { PlanOptions } from './plan.ts';

const l2Words = ['pause', 'pause', 'hlt', 'sti', 'cli', 'vmcall', 'eoi', 'read-memory'] as const;
const l1Words = ['pause', 'eoi', 'sti', 'cli'] as const;

/** What an L2 or its L1 does. */
export type NestedWord =
  | { readonly do: (typeof l2Words)[number] | (typeof l1Words)[number] }
  | { readonly do: 'cr8'; readonly class: number };

/**
 * `none`: KVM injects what L2 gets. `shadow`: CR8 of L2 is virtualized. `all`: its interrupts are
 * too, and L1 posts them.
 */
export type L2Apic = 'none' | 'shadow' | 'all';

export interface NestedPlan {
  readonly profile: string;
  readonly apic: L2Apic;
  /** of L1: HLT of L2 exits to it, interrupts do, and it finds them acknowledged */
  readonly hltExits: boolean;
  readonly interruptsExit: boolean;
  readonly acknowledges: boolean;
  /** L2 begins with interrupts on */
  readonly interrupts: boolean;
  readonly l2: readonly NestedWord[];
  /** what L1 does between an exit and VMRESUME */
  readonly l1: readonly NestedWord[];
  /** vectors that L1 on vCPU 1 posts to L2, each behind so many exits of its own */
  readonly posts: readonly { readonly vector: number; readonly behind: number }[];
  /** MSIs, of L1 */
  readonly messages: readonly { readonly vector: number; readonly to: number }[];
  readonly bursts: boolean;
  readonly seed: number;
}

const pick = <T>(...values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values);

const cr8 = fc.record({ do: pick('cr8' as const), class: pick(0, 0, 3, 4, 15) });
const l2Word: fc.Arbitrary<NestedWord> = fc.oneof(
  { arbitrary: pick(...l2Words).map((word) => ({ do: word })), weight: 5 },
  { arbitrary: cr8, weight: 1 },
);
const l1Word: fc.Arbitrary<NestedWord> = pick(...l1Words).map((word) => ({ do: word }));

/** Vectors of both levels, two of them the same. */
const vectorsOfL1 = [0x31, 0x51, 0x62] as const;
const vectorsOfL2 = [0x45, 0x51, 0x71] as const;

export const nestedPlan = (profiles: readonly string[]): fc.Arbitrary<NestedPlan> =>
  fc.record({
    profile: pick(...profiles),
    apic: pick<L2Apic>('none', 'shadow', 'all', 'all', 'all'),
    hltExits: fc.boolean(),
    interruptsExit: pick(true, true, false),
    acknowledges: pick(true, true, false),
    interrupts: pick(true, true, false),
    l2: fc.array(l2Word, { minLength: 1, maxLength: 8 }),
    l1: fc.array(l1Word, { maxLength: 3 }),
    posts: fc.array(fc.record({ vector: pick(...vectorsOfL2), behind: fc.nat(15) }), {
      maxLength: 4,
    }),
    messages: fc.array(fc.record({ vector: pick(...vectorsOfL1), to: pick(0, 0, 1) }), {
      maxLength: 3,
    }),
    bursts: fc.boolean(),
    seed: fc.nat(0xffff),
  });

const does = (op: Op, ...operands: readonly number[]): Instruction => ({ op, operands });

/** Where L1 has what: regions, the table of its EPT, and pages for L2. */
const page = {
  vmxon: 0x1000,
  vmcs12: 0x2000,
  ept: 0x3000,
  apicAccess: 0x5000,
  virtualApic: 0x6000,
  descriptor: 0x7000,
} as const;
const memoryPages = 9;
const notification = 0x40;
const eptWriteBackFourLevels = 0x1e;
const RFLAGS_IF = 1 << 9;
const ON_OFFSET = 0x20;
/** How often L1 goes back to L2. */
export const entriesMost = 12;

const bits = (...numbers: readonly (number | false)[]): number =>
  numbers.reduce<number>((word, bit) => (bit === false ? word : (word | (1 << bit)) >>> 0), 0);

const controlsOf = ({ apic, hltExits, interruptsExit, acknowledges }: NestedPlan) => {
  const virtual = apic === 'all';
  return {
    pin_based_vm_exec_control: bits(
      (virtual || interruptsExit) && pinControl.EXT_INTR,
      virtual && pinControl.POSTED_INTR,
    ),
    cpu_based_vm_exec_control: bits(
      hltExits && cpuControl.HLT,
      apic !== 'none' && cpuControl.TPR_SHADOW,
      cpuControl.SECONDARY,
    ),
    secondary_vm_exec_control: bits(
      secondaryControl.EPT,
      virtual && secondaryControl.VIRTUALIZE_APIC_ACCESSES,
      virtual && secondaryControl.APIC_REGISTER_VIRT,
      virtual && secondaryControl.VIRTUAL_INTR_DELIVERY,
    ),
    // Posted interrupts want interrupts to be acknowledged.
    vm_exit_controls: bits((virtual || acknowledges) && exitControl.ACK_INTR_ON_EXIT),
  };
};

const instructionOf = (word: NestedWord): Instruction => {
  if (word.do === 'cr8') return does('mov-to-cr8', word.class);
  return word.do === 'read-memory' ? does('read', 0) : does(word.do);
};

const vmwrites = (fields: Readonly<Record<string, number>>): Program =>
  Object.entries(fields).map(([name, value]) => does('vmwrite', vmcs12Fields[name]!, value));

/** L1 makes a VMCS, enters L2, and goes back to it as often as `entriesMost` says. */
const hypervisor = (plan: NestedPlan): Program => {
  const between = plan.l1.map(instructionOf);
  const again: Program = [does('advance-rip'), ...between, does('vmresume')];
  return [
    does('write', page.vmxon, VMCS12_REVISION),
    does('write', page.vmcs12, VMCS12_REVISION),
    ...(plan.apic === 'all' ? [does('write', page.ept, page.apicAccess / 0x1000)] : []),
    does('vmxon', page.vmxon),
    does('vmclear', page.vmcs12),
    does('vmptrld', page.vmcs12),
    ...vmwrites({
      ...controlsOf(plan),
      ept_pointer: page.ept + eptWriteBackFourLevels,
      apic_access_addr: page.apicAccess,
      virtual_apic_page_addr: page.virtualApic,
      posted_intr_desc_addr: page.descriptor,
      posted_intr_nv: notification,
      guest_rflags: plan.interrupts ? RFLAGS_IF : 0,
    }),
    does('vmlaunch'),
    ...Array.from({ length: entriesMost }, () => again).flat(),
  ];
};

/** The other L1 makes as many exits before it enters its L2. */
const untilL2Runs: Program = Array.from({ length: 15 }, () => does('vmcall'));

/** PIR, ON, and the notification: what a hypervisor does for a guest on another CPU. */
const post = ({ vector, behind }: NestedPlan['posts'][number]): Program => [
  ...Array.from({ length: behind }, () => does('vmcall')),
  does('write', page.descriptor + 4 * (vector >>> 5), 1 << (vector & 31)),
  does('write', page.descriptor + ON_OFFSET, 1),
  does('write', APIC_DEFAULT_PHYS_BASE + APIC_ICR2, 0),
  does('write', APIC_DEFAULT_PHYS_BASE + APIC_ICR, notification),
];

const actorsOf = (plan: NestedPlan, extra: readonly ActorConfig[]): ActorConfig[] => [
  {
    name: 'vcpu0',
    kind: 'vcpu',
    index: 0,
    program: hypervisor(plan),
    l2: plan.l2.map(instructionOf),
  },
  {
    name: 'vcpu1',
    kind: 'vcpu',
    index: 1,
    program: plan.apic === 'all' ? [...untilL2Runs, ...plan.posts.flatMap(post)] : [],
  },
  { name: 'irq0', kind: 'irq', index: 0, program: [] },
  { name: 'irq1', kind: 'irq', index: 1, program: [] },
  {
    name: 'dev',
    kind: 'dev',
    index: 0,
    program: plan.messages.map(({ vector, to }) => does('msi', vector, to)),
  },
  ...extra,
];

export const nestedMachine = (
  plan: NestedPlan,
  { switches = {}, extra = [] }: PlanOptions = {},
): Machine =>
  boot({
    vcpus: 2,
    frames: memoryPages + 8,
    memoryPages,
    boot: 'settled',
    enableApicv: true,
    vm: { nested: true },
    apics: [{ interrupts: true }, { interrupts: true }],
    switches: { ...profileOf(plan.profile)!.switches, ...switches },
    actors: actorsOf(plan, extra),
  });

/** Does the descriptor of L2 say that something was posted? */
export const isPosted = (m: Machine): boolean => {
  const hva = hvaOfGuestPage(page.descriptor / 0x1000);
  const pte = m.pte.find((entry) => entry.used && entry.present && entry.hva === hva);
  return pte !== undefined && (readFrame(m, pte.pfn, ON_OFFSET) & 1) !== 0;
};
