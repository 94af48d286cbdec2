// `given.cpus`: local APICs told in the words of the architecture, as a VM of KVM.

import type { VcpuConfig } from '#sim/state/machine_config.ts';
import type { Json, JsonObject, Plan } from '../adapter.ts';
import { bootFor, type KvmBench, restore, setBase, setMode } from './bench.ts';
import { halvesOf, numberOf, recordsOf } from './words.ts';

/** Keys of a CPU that are words of the register page. */
const registers: Readonly<Record<string, string>> = {
  spiv: '0x0f0',
  ldr: '0x0d0',
  dfr: '0x0e0',
  lvtt: '0x320',
};

const otherKeys = new Set(['mode', 'apic_id', 'apic_base', 'rflags_if']);
/** The tests that these cases come from enable their APICs. */
const softwareEnabled = '0x1ff';

const idOf = (cpu: JsonObject, index: number): number => numberOf(cpu['apic_id'] ?? index);

/** vCPU IDs are unique; CPUs that share an APIC ID are vCPUs whose guest has changed it. */
function vcpuIdsOf(cpus: readonly JsonObject[]): number[] {
  const ids = cpus.map(idOf);
  return new Set(ids).size === ids.length ? ids : ids.map((_, index) => index);
}

function wordsOf(cpu: JsonObject, index: number, vcpuId: number): JsonObject {
  const words: Record<string, Json> = { '0x0f0': softwareEnabled };
  const id = idOf(cpu, index);
  if (id !== vcpuId) words['0x020'] = `0x${(id * 2 ** 24).toString(16)}`;
  for (const [key, value] of Object.entries(cpu)) {
    const offset = Object.hasOwn(registers, key) ? registers[key] : undefined;
    if (offset !== undefined) words[offset] = value;
    else if (!otherKeys.has(key)) throw new Error(`no adapter knows given "cpus[].${key}"`);
  }
  return words;
}

export function prepareCpus(plan: Plan): KvmBench {
  const cpus = recordsOf(plan.given['cpus']);
  const ids = vcpuIdsOf(cpus);
  const vm = {
    ...((plan.given['vm'] ?? {}) as JsonObject),
    ...(plan.given['maxphyaddr'] === undefined ? {} : { maxphyaddr: plan.given['maxphyaddr'] }),
  };
  const vcpus = ids.map((id): Partial<VcpuConfig> => ({ id }));
  const bench = bootFor(plan, { vm, vcpus });
  for (const [index, cpu] of cpus.entries()) {
    setMode(bench, index, String(cpu['mode'] ?? 'xapic'));
    restore(bench, index, wordsOf(cpu, index, ids[index]!));
    if (
      cpu['apic_base'] !== undefined &&
      setBase(bench, index, halvesOf(cpu['apic_base']), true) !== 0
    ) {
      throw new Error(`KVM refuses the APIC base ${String(cpu['apic_base'])}`);
    }
    bench.m.vcpu[index]!.guest.rflags_if = cpu['rflags_if'] === true;
  }
  return bench;
}
