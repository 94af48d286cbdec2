// A guest of a guest: KVM runs L1, whose first CPU runs L2 with what a case gives. The programs of
// L1 and L2 run on KVM's own threads, as those of a scenario do.

import { boot } from '#sim/boot.ts';
import type { ActorConfig, MachineConfig } from '#sim/state/machine_config.ts';
import type { Instruction, Program } from '#sim/state/program.ts';
import { defaultProfile, profileOf } from '#sim/state/switches.ts';
import { exitReason } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import type { Bench, JsonObject, Plan } from '../adapter.ts';

export interface L1Bench extends Bench {
  m: Machine;
  readonly given: JsonObject;
  readonly profile: string;
  /** what L2 executes; the place from which on L1's other CPU may begin */
  readonly l2: Instruction[];
  signalled: number;
  /** what L1's other CPU executes */
  readonly peer: Instruction[];
  /** registers of L1's APIC by offset, as they were before L2 wrote the same to them */
  readonly before: Map<number, bigint>;
  /** exits of L2 that reached L1, and that KVM saw, in order */
  readonly exits: number[];
  readonly exitsToKvm: number[];
}

/** The CPU that runs L2, and the actor that is its thread; L1's other CPU. */
export const VCPU = 0;
const PEER = 1;

/** Pages of L1. */
export const page = {
  VMXON: 0x1000,
  VMCS: 0x2000,
  EPT: 0x3000,
  MSR_BITMAP: 0x4000,
  VAPIC: 0x5000,
  DESCRIPTOR: 0x6000,
} as const;
const memoryPages = 7;
/** Frame 0, the APIC-access page, and one that is free. */
const framesBesides = 3;

const cpusOf = ({ cpus }: JsonObject): number => (cpus === undefined ? 1 : Number(cpus));

/** What L1 gives its CPUs to do; L2 runs on the first. */
export interface Programs {
  readonly l1: Program;
  readonly l2: Program;
  readonly peer: Program;
}

const actorsOf = (cpus: number, { l1, l2, peer }: Programs): ActorConfig[] => {
  const indexes = Array.from({ length: cpus }, (_, index) => index);
  const vcpus = indexes.map(
    (index): ActorConfig => ({
      name: `vcpu${index}`,
      kind: 'vcpu',
      index,
      program: index === VCPU ? l1 : peer,
      ...(index === VCPU ? { l2 } : {}),
    }),
  );
  const contexts = indexes.map(
    (index): ActorConfig => ({ name: `irq${index}`, kind: 'irq', index, program: [] }),
  );
  return [...vcpus, ...contexts];
};

/** L1 has software-enabled its APICs; they are in x2APIC mode unless the case says otherwise. */
export function machineFor({ given, profile }: L1Bench | Plan, programs: Programs): Machine {
  const cpus = cpusOf(given);
  const { mode, lvt_cmci } = (given['l1_lapic'] ?? { mode: 'x2apic' }) as JsonObject;
  const config: MachineConfig = {
    vcpus: cpus,
    frames: framesBesides + cpus + memoryPages,
    memoryPages,
    boot: 'settled',
    enableApicv: true,
    vm: { nested: true },
    apics: Array.from({ length: cpus }, () => ({
      mode: mode === 'x2apic' ? 'x2apic' : 'xapic',
      lvtCmci: lvt_cmci !== false,
      interrupts: true,
    })),
    switches: (profileOf(profile) ?? profileOf(defaultProfile))!.switches,
    actors: actorsOf(cpus, programs),
  };
  return boot(config);
}

const noPrograms: Programs = { l1: [], l2: [], peer: [] };

export const prepare = (plan: Plan): L1Bench => ({
  m: machineFor(plan, noPrograms),
  given: plan.given,
  profile: plan.profile,
  l2: [],
  signalled: 0,
  peer: [],
  before: new Map(),
  exits: [],
  exitsToKvm: [],
});

/** More steps than any case takes. */
const stepsMax = 100_000;
/** Steps that L2 spins before L1's other CPU begins. */
const stepsOfSpin = 40;

/** Lets an actor take a step, and notes which exits it made. */
function step(bench: L1Bench, actor: number): void {
  const { m } = bench;
  const vcpu = m.vcpu[VCPU]!;
  const { left_guest } = vcpu.spec;
  const { nested_exits } = vcpu.stat;
  const { guest_mode } = vcpu;
  m.resume(actor);
  m.arena.closeStep();
  if (vcpu.spec.left_guest !== left_guest && guest_mode) {
    bench.exitsToKvm.push(vcpu.vmcs02.vm_exit_reason);
  }
  if (vcpu.stat.nested_exits !== nested_exits) {
    bench.exits.push(vcpu.nested.cached_vmcs12.vm_exit_reason);
  }
}

const hasSignalled = ({ m, signalled }: L1Bench): boolean =>
  m.vcpu[VCPU]!.guest_mode && m.vcpu[VCPU]!.non_root && m.actor[VCPU]!.pc >= signalled;

/** All actors but one take a step in turn, as long as they can; false if none could. */
function turn(bench: L1Bench, without: number): boolean {
  const { m } = bench;
  const ready = m.threads.filter(({ index }) => index !== without && m.ready(index));
  for (const { index } of ready) if (m.ready(index)) step(bench, index);
  return ready.length > 0;
}

/**
 * Runs L1 and L2 until nothing can happen any more. L1's other CPU waits for the signal of L2, and
 * then until L2 spins or sleeps.
 */
export function runAll(bench: L1Bench): void {
  let steps = 0;
  const bounded = (): boolean => {
    if (++steps > stepsMax) throw new Error('the case does not come to an end');
    return true;
  };
  while (bounded() && !hasSignalled(bench)) {
    if (!turn(bench, PEER)) break;
  }
  for (let spun = 0; spun < stepsOfSpin && turn(bench, PEER); spun++);
  while (bounded() && turn(bench, -1));
  const { guest, nested } = bench.m.vcpu[VCPU]!;
  if (guest.rflags_cf || guest.rflags_zf) {
    throw new Error(`L1 fails with error ${nested.cached_vmcs12.vm_instruction_error}`);
  }
  if (bench.exits.length === 0) throw new Error('L2 never exits to L1');
}

/** KVM has done for L2 what an exit was about: L1 never saw it. */
export const doneByKvm = ({ exitsToKvm }: L1Bench): boolean =>
  exitsToKvm.includes(exitReason.RDMSR) || exitsToKvm.includes(exitReason.WRMSR);
