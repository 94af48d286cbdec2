// Cases about what VMLAUNCH of L1 checks in vmcs12.

import { type Answer, type Give, type Operate, type Tables, unused } from '../adapter.ts';
import type { KvmBench } from './bench.ts';
import { done, need } from './functions.ts';
import { addressFields, beginVmx, layControls, vmwrite } from './l1.ts';
import { numberOf } from './words.ts';

type L1Give = Give<KvmBench>;

const addresses: Readonly<Record<string, L1Give>> = Object.fromEntries(
  Object.entries(addressFields).map(([key, field]): [string, L1Give] => [
    key,
    (bench, value) => vmwrite(bench, field, value),
  ]),
);

/** How the instruction ends, by its flags; L2 may be active, or not for what comes later. */
const outcomeOf = ({ m }: KvmBench): Answer => {
  const { guest, nested } = m.vcpu[0]!;
  if (guest.rflags_cf) return { outcome: 'vm-fail-invalid' };
  if (!guest.rflags_zf) return { outcome: 'controls-accepted' };
  return {
    outcome: 'vm-fail',
    rflags_zf: guest.rflags_zf,
    vm_instruction_error: nested.cached_vmcs12.vm_instruction_error,
  };
};

const vmlaunch: Operate<KvmBench> = (bench) => {
  const { m } = bench;
  beginVmx(bench);
  done(m, 0, need('nested_vmx_run')(m, 0, [], true));
  return outcomeOf(bench);
};

export const nestedControls: Tables<KvmBench> = {
  givens: {
    ...addresses,
    maxphyaddr: ({ m }, value) => {
      m.vm.maxphyaddr = numberOf(value);
    },
    controls: layControls,
    posted_intr_notification_vector: (bench, value) => vmwrite(bench, 'posted_intr_nv', value),
    vcpus: unused,
  },
  ops: { 'vm-entry': vmlaunch },
};
