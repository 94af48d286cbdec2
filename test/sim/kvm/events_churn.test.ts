// Everything at once: IPIs, HLT, inhibits, preemption, a page that moves. Nothing breaks or hangs.

import { expect, test } from 'vitest';
import { boot } from '#sim/boot.ts';
import { policyOf } from '#sim/sched/policies/policy_of.ts';
import type { ActorConfig } from '#sim/state/machine_config.ts';
import type { ActorKind, Op, Program } from '#sim/state/program.ts';
import { profileOf } from '#sim/state/switches.ts';
import { CheckedRun } from '../../../main/checked_run.ts';

const does = (op: Op, ...operands: readonly number[]): Program => [{ op, operands }];
const times = (count: number, ...body: readonly Program[]): Program =>
  Array.from({ length: count }, () => body.flat()).flat();

const [ID, ICR, ICR2, SPIV] = [0x1b, 0xfee0_0300, 0xfee0_0310, 0xfee0_00f0];
const enable = 0x1ff;

/** Fixed interrupts to both vCPUs, by the registers of the mode. */
const sends = (x2apic: boolean, vector: number): readonly Program[] =>
  [0, 1].map((to) =>
    x2apic
      ? does('wrmsr64', 0x830, 0x4000 + vector + to, to)
      : [...does('write', ICR2, to << 24), ...does('write', ICR, 0x4000 + vector + to)],
  );

const guest = (x2apic: boolean, vector: number, last: Op): Program => [
  ...(x2apic
    ? [...does('wrmsr', ID, 0xfee0_0c00), ...does('wrmsr', 0x80f, enable)]
    : does('write', SPIV, enable)),
  ...does('sti'),
  ...times(6, ...sends(x2apic, vector), does(last)),
];

const programs = (seed: number): Readonly<Record<string, Program>> => ({
  vcpu0: guest(seed % 3 === 0, 0x31, 'hlt'),
  vcpu1: guest(seed % 3 === 0, 0x51, 'pause'),
  mm: times(3, does('migrate', -1)),
  user:
    seed % 2 === 0
      ? does('assign-device')
      : times(4, does('inhibit-apicv', 3), does('uninhibit-apicv', 3)),
  sched: times(3, does('preempt', 0), does('run-on', 0, 0)),
});

const actors = (of: Readonly<Record<string, Program>>): ActorConfig[] =>
  ['vcpu0', 'vcpu1', 'irq0', 'irq1', 'mm', 'user', 'sched'].map((name) => ({
    name,
    kind: name.replace(/\d$/, '') as ActorKind,
    index: name.endsWith('1') ? 1 : 0,
    program: of[name] ?? [],
  }));

const seeds = Array.from({ length: 20 }, (_, i) => i + 1);

test.each(['k6.6', 'k7.0'])('%s comes to rest without a finding, whatever the order', (profile) => {
  const ends = seeds.map((seed) => {
    const m = boot({
      vcpus: 2,
      frames: 10,
      memoryPages: 2,
      boot: 'settled',
      enableApicv: seed % 5 !== 0,
      switches: profileOf(profile)!.switches,
      actors: actors(programs(seed)),
    });
    const run = new CheckedRun(m, { policy: policyOf({ kind: 'random', seed }), stepsMax: 50_000 });
    for (let slice = 0; slice < 1000 && run.advance(1000); slice++);
    const taken = m.vcpu.every(({ guest: { delivered_count } }) => delivered_count > 0);
    return [seed, run.message, run.findings.map(({ check }) => check), taken];
  });
  expect(ends).toEqual(seeds.map((seed) => [seed, 'no actor can take a step', [], true]));
});
