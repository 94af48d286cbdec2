// Cases about vmcs02: what of vmcs01 and of vmcs12 the CPU runs L2 with.

import { nvmxVmentry } from '#sim/kvm/vmx/nested/run.ts';
import { INVALID_GPA } from '#sim/state/addresses.ts';
import { hpa_to_pfn, PAGE_SIZE } from '#sim/state/machine.ts';
import { kvmExit } from '#sim/state/vcpu.ts';
import {
  type Answer,
  type Give,
  type JsonObject,
  type Observed,
  type Operate,
  type Tables,
  unused,
} from '../adapter.ts';
import { type Control, controls } from '../vmx_cpu/words.ts';
import type { KvmBench } from './bench.ts';
import { done, need } from './functions.ts';
import { addressFields, beginVmx, gpaOf, layControls, takeAway, vmwrite } from './l1.ts';
import { numberOf } from './words.ts';

type Vmcs = KvmBench['m']['vcpu'][number]['vmcs01'];
type Field = Control['field'];

const fields: Readonly<Record<string, Field>> = {
  pin: 'pin_based_vm_exec_control',
  primary: 'cpu_based_vm_exec_control',
  secondary: 'secondary_vm_exec_control',
};

/** The notes leave these out of all lists. */
const leftOut: ReadonlySet<string> = new Set(['hlt-exiting', 'preemption-timer']);

/** Names of the controls of a field that are 1, in the order of their bits. */
const namesIn = (vmcs: Vmcs, field: Field): string[] =>
  Object.entries(controls)
    .filter(([name, one]) => one.field === field && !leftOut.has(name) && vmcs[field].has(one.bit))
    .sort(([, a], [, b]) => a.bit - b.bit)
    .map(([name]) => name);

/** L1 runs with what the VM has made of its APIC: the case says so too, or is of another VM. */
const checkVmcs01: Give<KvmBench> = ({ m }, value) => {
  const { vmcs01 } = m.vcpu[0]!;
  for (const [list, names] of Object.entries(value as JsonObject)) {
    const field = fields[list];
    if (field === undefined) throw new Error(`no adapter knows given "vmcs01.${list}"`);
    const [there, said] = [namesIn(vmcs01, field), (names as readonly string[]).toSorted()];
    if (there.toSorted().join() !== said.join()) {
      throw new Error(`vmcs01 of the machine that was built has ${list} ${there.join(', ')}`);
    }
  }
};

const numbers: Readonly<Record<string, string>> = {
  tpr_threshold: 'tpr_threshold',
  guest_interrupt_status: 'guest_intr_status',
  posted_intr_notification_vector: 'posted_intr_nv',
  ...addressFields,
};

const layVmcs12: Give<KvmBench> = (bench, value) => {
  for (const [key, one] of Object.entries(value as JsonObject)) {
    const field = Object.hasOwn(numbers, key) ? numbers[key] : undefined;
    if (key === 'controls') layControls(bench, one);
    else if (field === undefined) throw new Error(`no adapter knows given "vmcs12.${key}"`);
    else vmwrite(bench, field, one);
  }
};

const layUnbacked: Give<KvmBench> = ({ m }, value, given) => {
  const addresses = given['vmcs12'] as JsonObject;
  for (const name of value as readonly string[]) takeAway(m, numberOf(addresses[name]));
};

/** What the fields hold before the entry: nothing that it could write. */
const unwritten = ({ m }: KvmBench): { tpr_threshold: number; guest_intr_status: number } => {
  const { cached_vmcs12: vmcs12 } = m.vcpu[0]!.nested;
  return {
    tpr_threshold: vmcs12.tpr_threshold ^ 0xff,
    guest_intr_status: vmcs12.guest_intr_status ^ 0xffff,
  };
};

const ifWritten = (value: number, before: number): number | null =>
  value === before ? null : value;

const allOnes = 2n ** 64n - 1n;

/** An address in vmcs02, as an address of L1; no page of L1 is in frame 0. */
function addressOf({ m }: KvmBench, hpa: number): Observed {
  if (hpa === 0) return null;
  if (hpa === INVALID_GPA) return allOnes;
  const page = gpaOf(m, hpa_to_pfn(hpa));
  return page === undefined ? `host-physical ${hpa}` : page + (hpa % PAGE_SIZE);
}

const outcomeOf = ({ m }: KvmBench, status: number): string => {
  if (status === nvmxVmentry.SUCCESS) return 'entered';
  if (status !== nvmxVmentry.KVM_INTERNAL_ERROR)
    return status === nvmxVmentry.VMFAIL ? 'vm-fail' : 'vm-exit';
  return m.vcpu[0]!.exit_reason === kvmExit.INTERNAL_ERROR ? 'kvm-internal-error-exit' : 'error';
};

const enter: Operate<KvmBench> = (bench): Answer => {
  const { m } = bench;
  const { nested, vmcs02 } = m.vcpu[0]!;
  beginVmx(bench);
  nested.nested_run_pending = true;
  const before = unwritten(bench);
  Object.assign(vmcs02, before);
  const status = done(m, 0, need('nested_vmx_enter_non_root_mode')(m, 0, true));
  return {
    outcome: outcomeOf(bench, status),
    vmcs02: {
      pin: namesIn(vmcs02, fields['pin']!),
      primary: namesIn(vmcs02, fields['primary']!),
      secondary: namesIn(vmcs02, fields['secondary']!),
      tpr_threshold: ifWritten(vmcs02.tpr_threshold, before.tpr_threshold),
      guest_interrupt_status: ifWritten(vmcs02.guest_intr_status, before.guest_intr_status),
      virtual_apic_addr: addressOf(bench, vmcs02.virtual_apic_page_addr),
      apic_access_addr: addressOf(bench, vmcs02.apic_access_addr),
      posted_intr_desc_addr: addressOf(bench, vmcs02.posted_intr_desc_addr),
    },
    l2_posted_intr_nv: nested.posted_intr_nv < 0 ? null : nested.posted_intr_nv,
  };
};

export const nestedMerge: Tables<KvmBench> = {
  givens: {
    vm: unused,
    vcpus: unused,
    vmcs01: checkVmcs01,
    vmcs12: layVmcs12,
    unbacked: layUnbacked,
  },
  ops: { 'nested-vm-entry': enter },
};
