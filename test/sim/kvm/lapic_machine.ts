// A machine for tests of one local APIC: enabled, in the mode that is wished for.

import { boot } from '#sim/boot.ts';
import type { MachineConfig } from '#sim/state/machine_config.ts';
import { defaultProfile } from '#sim/state/switches.ts';
import type { Machine, Steps } from '#sim/steps.ts';
import { complete, configOf, type SmallMachine } from '../small_machine.ts';

export type Wishes = Pick<SmallMachine, 'enableApicv' | 'switches' | 'vcpus' | 'programs'> &
  Pick<MachineConfig, 'vm' | 'apics'>;

/** Without APICv unless it is wished for; nothing is requested. */
export const machineWith = ({ vm = {}, apics = [], ...small }: Wishes = {}): Machine => {
  const usual = { enableApicv: false, memoryPages: 1, profile: defaultProfile };
  const m = boot({ ...configOf({ ...usual, ...small }), vm, apics });
  const [vcpu] = m.vcpu;
  vcpu!.apic.spiv = 0x1ff;
  vcpu!.apic.sw_enabled = true;
  vcpu!.requests.clearAll();
  return m;
};

/** The vCPU does it, and nobody else moves. */
export const does = <R>(m: Machine, call: Steps<R>): R => complete(m, 'vcpu0', () => call);
