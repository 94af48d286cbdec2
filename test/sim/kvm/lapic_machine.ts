/** A small machine for tests of the local APIC: vCPUs that stand still, and calls on their behalf. */
import { boot } from '#sim/boot.ts';
import type { ActorConfig, MachineConfig } from '#sim/state/program.ts';
import { defaultProfile, profileOf, type SwitchId } from '#sim/state/switches.ts';
import { type Call, type Machine, perform, Thread } from '#sim/steps.ts';

export interface Wishes extends Partial<Pick<MachineConfig, 'enableApicv' | 'vm' | 'apics'>> {
  readonly switches?: Partial<Record<SwitchId, string>>;
}

const actors: readonly ActorConfig[] = [
  { name: 'vcpu0', kind: 'vcpu', index: 0, program: [] },
  { name: 'irq0', kind: 'irq', index: 0, program: [] },
  { name: 'user', kind: 'user', index: 0, program: [] },
];
/** The actor for what no vCPU does: timers, user space. */
export const other = actors.length - 1;

/** One vCPU with an APIC that is enabled, in the mode that is wished for. */
export const machineWith = ({ switches = {}, ...more }: Wishes = {}): Machine => {
  const m = boot({
    vcpus: 1,
    frames: 8,
    memoryPages: 1,
    boot: 'settled',
    enableApicv: false,
    ...more,
    switches: { ...profileOf(defaultProfile)!.switches, ...switches },
    actors,
  });
  m.vcpu[0]!.apic.spiv = 0x1ff;
  m.vcpu[0]!.apic.sw_enabled = true;
  m.vcpu[0]!.requests.clearAll();
  return m;
};

/** vCPU 0 does it, and nobody else moves. */
export const does = <R>(m: Machine, call: Call<R>): R => perform(m, 0, call);

/** Puts a call in the place of an actor, so that a test can take its steps one by one. */
export const startAs = (m: Machine, actor: number, call: Call<unknown>): Thread => {
  const thread = new Thread(actor, m.threads[actor]!.name, call);
  m.threads[actor] = thread;
  m.actor[actor]!.depth = 1;
  m.resume(actor);
  return thread;
};

const stepsMax = 200;

/** Takes the steps of an actor for as long as it can. */
export const runOn = (m: Machine, actor: number): void => {
  for (let steps = 0; m.ready(actor); steps++) {
    if (steps === stepsMax) throw new Error(`${m.threads[actor]!.name} does not come to rest`);
    m.resume(actor);
  }
};
