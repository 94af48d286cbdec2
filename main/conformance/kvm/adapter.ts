// KVM's in-kernel APIC, IOAPIC, APICv and nested VMX code as the subject of cases.

import { type AdapterSpec, adapter, type Plan, unused } from '../adapter.ts';
import { type KvmBench, prepareVcpus } from './bench.ts';
import { prepareCpus } from './cpus.ts';
import { early, givens } from './givens.ts';
import { actingVcpu, ops } from './ops.ts';
import { expects, pictureOf } from './read.ts';
import { settle } from './settle.ts';
import { suites } from './suites.ts';
import { service } from './time.ts';

/** The VM is told by its vCPUs, or by CPUs in the words of the architecture. */
const prepare = (plan: Plan): KvmBench => {
  const bench = plan.given['cpus'] === undefined ? prepareVcpus(plan) : prepareCpus(plan);
  for (const [key, give] of Object.entries(early)) {
    const value = plan.given[key];
    if (value !== undefined) give(bench, value, plan.given);
  }
  settle(bench);
  return bench;
};

const spec: Omit<AdapterSpec<KvmBench>, 'model'> = {
  prepare,
  givens: { ...givens, cpus: unused, maxphyaddr: unused },
  ops,
  expects,
  suites,
  before: (bench, op) => {
    service(bench);
    bench.subject = actingVcpu(op);
    bench.before = bench.m.vcpu.map((_, vcpu) => pictureOf(bench, vcpu));
  },
};

export const kvmLapic = adapter({ ...spec, model: 'kvm-lapic' });
export const kvmNvmx = adapter({ ...spec, model: 'kvm-nvmx' });
/** KVM's APIC is one of those that keep to the architecture. */
export const lapicArch = adapter({ ...spec, model: 'lapic-arch' });
