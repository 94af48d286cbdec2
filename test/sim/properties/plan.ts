// A small random machine: what its guests, devices and the scheduler do, and in which order. A plan
// is plain data, so that fast-check can make it, shrink it and print it.

import fc from 'fast-check';
import { boot } from '#sim/boot.ts';
import { randomSource } from '#sim/sched/policies/random.ts';
import type { Policy } from '#sim/sched/policy.ts';
import type { ActorConfig } from '#sim/state/machine_config.ts';
import type { ActorKind, Instruction, Op, Program } from '#sim/state/program.ts';
import { profileOf, type SwitchId } from '#sim/state/switches.ts';
import { cpuControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';

const plainWords = ['pause', 'hlt', 'sti', 'cli', 'eoi', 'read-tpr', 'read-memory'] as const;

interface PlainWord {
  readonly do: (typeof plainWords)[number];
}

/** What a guest does, whatever the mode of its APIC. */
export type GuestWord =
  | PlainWord
  | { readonly do: 'ipi'; readonly to: number; readonly vector: number }
  | { readonly do: 'tpr' | 'cr8'; readonly class: number };

/** `usual`: EOI, then IRET. `slow`: with something before and behind. `none`: IRET alone. */
export type HandlerKind = 'usual' | 'slow' | 'none';

export interface Plan {
  readonly profile: string;
  readonly apicv: boolean;
  readonly x2apic: boolean;
  /** false: KVM_CAP_X86_DISABLE_EXITS, the guest halts without an exit */
  readonly hltExits: boolean;
  readonly guests: readonly (readonly GuestWord[])[];
  readonly handler: HandlerKind;
  /** MSIs through KVM */
  readonly messages: readonly { readonly vector: number; readonly to: number }[];
  /** interrupts that the IOMMU posts; only with APICv */
  readonly posts: readonly { readonly vector: number; readonly to: number }[];
  /** a vCPU gives its CPU away and goes on on another, or the same */
  readonly moves: readonly { readonly vcpu: number; readonly cpu: number }[];
  /** how often APICv is inhibited and allowed again */
  readonly inhibits: number;
  /** one step at a time, or a few steps of the same actor */
  readonly bursts: boolean;
  readonly seed: number;
}

export type Switches = Readonly<Partial<Record<SwitchId, string>>>;

/** Kernels with what their era is known to lack, without which interrupts do get stuck. */
export const eras: readonly (readonly [string, Switches])[] = [
  // What the IOMMU posted while SN was set is found only if ON is computed again.
  ['k4.15', { 'sn-clear-recompute-on': 'on' }],
  ['k5.8', {}],
  ['k6.6', {}],
  // With an empty PIR the harvest gave no vector, and RVI became 0 over what IRR had.
  ['k6.13', { 'empty-pir-scans-irr': 'on' }],
  ['k6.19', {}],
  ['k7.0', {}],
];

/** Few vectors, two of them in one class: they meet in PIR, IRR and ISR. */
export const vectors = [0x31, 0x41, 0x45, 0x62, 0xe3] as const;

const pick = <T>(...values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values);

const guestWord = (vcpus: number): fc.Arbitrary<GuestWord> =>
  fc.oneof(
    pick(...plainWords).map((word) => ({ do: word })),
    fc.record({ do: pick('ipi' as const), to: fc.nat(vcpus - 1), vector: pick(...vectors) }),
    fc.record({ do: pick('tpr' as const, 'cr8' as const), class: pick(0, 0, 3, 4, 15) }),
  );

/**
 * Does the guest lower its TPR while an interrupt is in service, without APICv? KVM loses the guest
 * then: exit 43 asks for EVENT only if the PPR now lets something through, and TPR_THRESHOLD is
 * written where EVENT is handled and nowhere else (handle_tpr_below_threshold, apic_update_ppr and
 * vcpu_enter_guest of the kernel). The threshold stays above the TPR: in xAPIC mode each entry ends
 * in exit 43 again, in x2APIC mode the next one fails.
 */
export const lowersTprInService = ({ handler, apicv, inhibits, guests }: Plan): boolean =>
  handler === 'none' &&
  (!apicv || inhibits > 0) &&
  guests.some((words) => words.some((word) => word.do === 'tpr' || word.do === 'cr8'));

/** What differs between the tests. */
export interface PlanLimits {
  readonly profiles: readonly string[];
  readonly apicv?: fc.Arbitrary<boolean>;
  readonly inhibitsMost?: number;
  readonly movesMost?: number;
}

const anyPlan = (limits: PlanLimits): fc.Arbitrary<Plan> =>
  pick(2, 3).chain((vcpus) => {
    const arrival = fc.record({ vector: pick(...vectors), to: fc.nat(vcpus - 1) });
    return fc.record({
      profile: pick(...limits.profiles),
      apicv: limits.apicv ?? pick(true, true, true, false),
      x2apic: fc.boolean(),
      hltExits: fc.boolean(),
      guests: fc.array(fc.array(guestWord(vcpus), { maxLength: 7 }), {
        minLength: vcpus,
        maxLength: vcpus,
      }),
      handler: pick('usual', 'usual', 'slow', 'none'),
      messages: fc.array(arrival, { maxLength: 5 }),
      posts: fc.array(arrival, { maxLength: 5 }),
      moves: fc.array(fc.record({ vcpu: fc.nat(vcpus - 1), cpu: fc.nat(vcpus - 1) }), {
        maxLength: limits.movesMost ?? 2,
      }),
      inhibits: fc.nat(limits.inhibitsMost ?? 0),
      bursts: fc.boolean(),
      seed: fc.nat(0xffff),
    });
  });

export const planWithin = (limits: PlanLimits): fc.Arbitrary<Plan> =>
  anyPlan(limits).filter((plan) => !lowersTprInService(plan));

const does = (op: Op, ...operands: readonly number[]): Instruction => ({ op, operands });

const [TPR, ICR, ICR2] = [0xfee0_0080, 0xfee0_0300, 0xfee0_0310];
const [TPR_MSR, ICR_MSR] = [0x808, 0x830];
const HYPERV = 1;

const instructionsOf = (word: GuestWord, x2apic: boolean): Program => {
  switch (word.do) {
    case 'ipi':
      return x2apic
        ? [does('wrmsr64', ICR_MSR, word.vector, word.to)]
        : [does('write', ICR2, word.to << 24), does('write', ICR, word.vector)];
    case 'tpr':
      return [
        x2apic ? does('wrmsr', TPR_MSR, word.class << 4) : does('write', TPR, word.class << 4),
      ];
    case 'cr8':
      return [does('mov-to-cr8', word.class)];
    case 'read-tpr':
      return [x2apic ? does('rdmsr', TPR_MSR) : does('read', TPR), does('pause')];
    case 'read-memory':
      return [does('read', 0), does('pause')];
    default:
      return [does(word.do)];
  }
};

const handlers: Readonly<Record<HandlerKind, Program>> = {
  usual: [],
  slow: [does('handler'), does('pause'), does('eoi'), does('pause'), does('iret')],
  none: [does('handler'), does('iret')],
};

const guestProgram = (plan: Plan, words: readonly GuestWord[]): Program => [
  ...words.flatMap((word) => instructionsOf(word, plan.x2apic)),
  ...handlers[plan.handler],
];

/** The order gives the actors their numbers: vCPUs come first. */
const actorsOf = (plan: Plan, extra: readonly ActorConfig[]): ActorConfig[] => {
  const numbers = plan.guests.map((_, i) => i);
  const one = (name: string, kind: ActorKind, program: Program, index = 0): ActorConfig => ({
    name,
    kind,
    index,
    program,
  });
  return [
    ...numbers.map((i) => one(`vcpu${i}`, 'vcpu', guestProgram(plan, plan.guests[i]!), i)),
    ...numbers.map((i) => one(`irq${i}`, 'irq', [], i)),
    one('user', 'user', plan.posts.length > 0 ? [does('assign-device')] : []),
    one(
      'dev',
      'dev',
      plan.messages.map(({ vector, to }) => does('msi', vector, to)),
    ),
    one(
      'iommu',
      'iommu',
      plan.apicv ? plan.posts.map(({ vector, to }) => does('post', vector, to)) : [],
    ),
    one(
      'sched',
      'sched',
      plan.moves.flatMap(({ vcpu, cpu }) => [does('preempt', vcpu), does('run-on', vcpu, cpu)]),
    ),
    one(
      'user1',
      'user',
      Array.from({ length: plan.inhibits }, () => [
        does('inhibit-apicv', HYPERV),
        does('uninhibit-apicv', HYPERV),
      ]).flat(),
      1,
    ),
    ...extra,
  ];
};

export interface PlanOptions {
  /** protections that are not as in the profile */
  readonly switches?: Switches;
  readonly extra?: readonly ActorConfig[];
}

export const machineOf = (plan: Plan, { switches = {}, extra = [] }: PlanOptions = {}): Machine => {
  const vcpus = plan.guests.length;
  const m = boot({
    vcpus,
    frames: vcpus + 6,
    memoryPages: 1,
    boot: 'settled',
    enableApicv: plan.apicv,
    apics: plan.guests.map(() => ({ mode: plan.x2apic ? 'x2apic' : 'xapic', interrupts: true })),
    switches: { ...profileOf(plan.profile)!.switches, ...switches },
    actors: actorsOf(plan, extra),
  });
  if (!plan.hltExits) {
    for (const { vmcs01 } of m.vcpu) vmcs01.cpu_based_vm_exec_control.clear(cpuControl.HLT);
    m.arena.dropLog();
  }
  return m;
};

const burstMost = 12;

/** Random; with `bursts` who is chosen goes on for a while. */
export const burstsOf = ({ seed, bursts }: Pick<Plan, 'seed' | 'bursts'>): Policy => {
  const next = randomSource(seed);
  let actor = -1;
  let left = 0;
  return {
    ended: undefined,
    choose(_, { actors, count }) {
      if (left > 0) {
        left--;
        for (let i = 0; i < count; i++) if (actors[i] === actor) return actor;
      }
      actor = actors[next(count)]!;
      if (bursts) left = next(burstMost);
      return actor;
    },
  };
};

/** The same, after the device was assigned: before that the IOMMU has nothing to post. */
export const policyOf = (plan: Plan): Policy => {
  const bursts = burstsOf(plan);
  return {
    ended: undefined,
    choose(m, ready) {
      const user = m.threads.findIndex(({ name, done }) => name === 'user' && !done);
      for (let i = 0; i < ready.count; i++) if (ready.actors[i] === user) return user;
      return bursts.choose(m, ready);
    },
  };
};
