// What a run of a scenario has shown, in the order in which it came.

import { boot } from '#sim/boot.ts';
import type { Watcher } from '#sim/sched/run.ts';
import type { Machine } from '#sim/steps.ts';
import type { ScenarioText } from '../../bundled.ts';
import { CheckedRun } from '../../checked_run.ts';
import { compiled } from '../../compiled.ts';
import { unmet } from '../../expectations_met.ts';
import { choosePolicy } from '../../policy_choice.ts';

/** Of one vCPU. */
export interface Seen {
  /** exits of its L2 to its L1; `executed` counts the instructions of L2 since it was entered */
  readonly exits: { readonly reason: number; readonly executed: number }[];
  /** interrupts that the guest took, and the level of guest that ran */
  readonly interrupts: { readonly vector: number; readonly level: 1 | 2 }[];
  /** #GP so far */
  faults: number;
  /** what it read, where the scenario compares that and finds it right */
  readonly values: number[];
  /** values of IA32_APIC_BASE, the first one included */
  readonly bases: number[];
}

export interface Evidence {
  /** in its final state */
  readonly m: Machine;
  readonly vcpus: readonly Seen[];
  /** the reasons why APICv is off, the first ones included */
  readonly inhibits: readonly number[];
}

/** What was seen of a vCPU up to the step before; the machine has no memory of what was. */
interface Last {
  exits: number;
  entries: number;
  delivered: number;
  verified: number;
  /** GUEST_RIP of vmcs12 at the last entry */
  rip: number;
  /** what is compared in a step is what was there before: the next instruction loads its own */
  value: number;
}

const follow = (m: Machine, vcpu: number, seen: Seen, last: Last): void => {
  const { stat, guest, nested, guest_mode, apic_base } = m.vcpu[vcpu]!;
  const { cached_vmcs12: vmcs12 } = nested;
  if (stat.nested_entries !== last.entries) {
    last.entries = stat.nested_entries;
    last.rip = vmcs12.guest_rip;
  }
  if (stat.nested_exits !== last.exits) {
    last.exits = stat.nested_exits;
    seen.exits.push({ reason: vmcs12.vm_exit_reason, executed: vmcs12.guest_rip - last.rip });
  }
  if (guest.delivered_count !== last.delivered) {
    last.delivered = guest.delivered_count;
    const { vector } = guest.delivered[(last.delivered - 1) % guest.delivered.length]!;
    seen.interrupts.push({ vector, level: guest_mode ? 2 : 1 });
  }
  if (guest.verified !== last.verified) {
    last.verified = guest.verified;
    seen.values.push(last.value);
  }
  last.value = guest.value;
  seen.faults = guest.faulted;
  if (seen.bases.at(-1) !== apic_base) seen.bases.push(apic_base);
};

function watching(m: Machine): { readonly evidence: Evidence; readonly watcher: Watcher } {
  const vcpus = m.vcpu.map(({ apic_base }): Seen => {
    return { exits: [], interrupts: [], faults: 0, values: [], bases: [apic_base] };
  });
  const lasts = vcpus.map((): Last => {
    return { exits: 0, entries: 0, delivered: 0, verified: 0, rip: 0, value: 0 };
  });
  const inhibits = [m.vm.apicv_inhibit_reasons.word(0)];
  const stepClosed = (): void => {
    for (const [vcpu, seen] of vcpus.entries()) follow(m, vcpu, seen, lasts[vcpu]!);
    const reasons = m.vm.apicv_inhibit_reasons.word(0);
    if (reasons !== inhibits.at(-1)) inhibits.push(reasons);
    m.arena.dropLog();
  };
  return { evidence: { m, vcpus, inhibits }, watcher: { stepClosed } };
}

/** So long a run may take before it is asked again whether it goes on. */
const sliceMs = 1000;

/** Runs the scenario as it asks to be run; an expectation of its own that fails is an error. */
export function evidenceOf(source: ScenarioText, profile: string): Evidence {
  const scenario = compiled(source, { profile });
  const m = boot(scenario.config);
  const { evidence, watcher } = watching(m);
  const { policy } = choosePolicy(scenario, {});
  const run = new CheckedRun(m, { policy, watchers: [watcher] });
  while (run.advance(sliceMs));
  const end = { findings: run.findings, halted: run.halt, words: m.arena.words };
  const [first] = unmet(scenario.expectations, end);
  if (first !== undefined) {
    throw new Error(`${source.name}: expected ${first.expected}, but ${first.got}`);
  }
  return evidence;
}
