// How a field of vmcs02 stands to vmcs12 and vmcs01, out of which KVM makes it.

import { type Leaf, valueAt } from '../../main/sim/arena/leaves.ts';
import { INVALID_GPA, rootOf } from '../../main/sim/state/addresses.ts';
import type { MachineView } from '../../main/sim/state/machine.ts';
import { POSTED_INTR_NESTED_VECTOR } from '../../main/sim/state/pi_desc.ts';
import { secondaryControl } from '../../main/sim/state/vmcs.ts';
import { type L1Page, l1PagesOf, noAddress, runsL2 } from '../memory/l1_pages.ts';
import { bitsOf, type VmcsLine } from './fields.ts';

export interface Relation {
  /**
   * `own`: each has its own, and nothing is to be compared; `unused`: a control says that nobody
   * looks at the field.
   */
  readonly kind: 'equal' | 'derived' | 'different' | 'stale' | 'own' | 'unused';
  /** what it is derived from, or what is wrong */
  readonly text: string;
  /** stale, but vmcs02 is not loaded: the next entry into L2 writes it again */
  readonly idle?: boolean;
}

interface Place {
  readonly m: MachineView;
  readonly vcpu: number;
  readonly words: Uint32Array;
  readonly pages: readonly L1Page[];
}

const own: Relation = { kind: 'own', text: '' };
const equal: Relation = { kind: 'equal', text: 'vmcs12' };

/** What a VM exit writes: vmcs02 has the exit of L2, vmcs12 what L1 was told. */
const exitFields: ReadonlySet<string> = new Set([
  'guest_physical_address',
  'vm_instruction_error',
  'vm_exit_reason',
  'vm_exit_intr_info',
  'idt_vectoring_info',
  'exit_qualification',
]);

const mergedControls: ReadonlySet<string> = new Set([
  'pin_based_vm_exec_control',
  'cpu_based_vm_exec_control',
  'secondary_vm_exec_control',
]);

/** KVM emulates with a timer of its own what L1 asks for with this control. */
const emulated: ReadonlySet<string> = new Set(['PREEMPTION_TIMER']);

/** The controls of L2 are those of both, but for what KVM decides alone. */
const controlRelation = (words: Uint32Array, { vmcs01, vmcs12, vmcs02 }: VmcsLine): Relation => {
  const of = (leaf: Leaf | undefined): string[] => (leaf ? bitsOf(words, leaf) : []);
  const [l0, l1, l2] = [of(vmcs01), of(vmcs12), of(vmcs02)];
  const lacking = l1.filter((bit) => !l2.includes(bit) && !emulated.has(bit));
  if (lacking.length > 0) return { kind: 'different', text: `without ${lacking.join(' ')}` };
  const added = l2.filter((bit) => !l1.includes(bit));
  if (added.length === 0 && l1.length === l2.length) return equal;
  const alone = added.filter((bit) => !l0.includes(bit));
  const kvm = alone.length === 0 ? '' : ` | KVM's ${alone.join(' ')}`;
  return { kind: 'derived', text: `vmcs01 | vmcs12${kvm}` };
};

const pageRelation = ({ m, vcpu }: Place, page: L1Page): Relation => {
  if (!page.used) return { kind: 'unused', text: 'control off' };
  if (noAddress(page.hpa)) return { kind: 'different', text: 'no memory there: the entry fails' };
  const gpa = `0x${page.gpa.toString(16)}`;
  if (page.trouble !== undefined) {
    const idle = !runsL2(m.vcpu[vcpu]!);
    const freed = page.trouble === 'freed';
    const text = freed ? `pfn ${page.pfn} was freed` : `GPA ${gpa} is pfn ${page.mapped} now`;
    return { kind: 'stale', text: idle ? `${text}, not loaded` : text, idle };
  }
  if (page.mapped < 0) return { kind: 'different', text: `GPA ${gpa} is not mapped now` };
  return { kind: 'derived', text: `GPA ${gpa}` };
};

const eptRelation = ({ m, vcpu }: Place): Relation => {
  const { vmcs02, nested } = m.vcpu[vcpu]!;
  const { ept_pointer: eptp12 } = nested.cached_vmcs12;
  const root = m.ept[rootOf(vmcs02.ept_pointer)];
  if (root === undefined) return own;
  if (root.invalid) return { kind: 'stale', text: 'the root is obsolete' };
  if (root.eptp12 === INVALID_GPA) return { kind: 'different', text: 'EPT01, the root of L1' };
  if (root.eptp12 === 0) return { kind: 'derived', text: 'EPT02 without an EPT12' };
  const named = `0x${root.eptp12.toString(16)}`;
  return root.eptp12 === eptp12
    ? { kind: 'derived', text: `EPT02 of EPTP ${named}` }
    : { kind: 'different', text: `EPT02 of EPTP ${named}` };
};

/** Fields whose value KVM decides: what it should be, and how that is called. */
const constants: Readonly<
  Record<string, (at: Place) => { readonly value: number; readonly text: string }>
> = {
  posted_intr_nv: () => ({ value: POSTED_INTR_NESTED_VECTOR, text: 'POSTED_INTR_NESTED_VECTOR' }),
  virtual_processor_id: ({ m, vcpu }) => ({
    value: m.vcpu[vcpu]!.nested.vpid02,
    text: 'vpid02, of KVM',
  }),
};

/** Fields that KVM takes over from vmcs01, whatever L1 asks for. */
const fromVmcs01: ReadonlySet<string> = new Set(['virtual_processor_id', 'vm_exit_controls']);

/** What makes a field of L2 count: a control of vmcs12. */
const isIdle = ({ m, vcpu, pages }: Place, name: string): boolean => {
  const { secondary_vm_exec_control: secondary } = m.vcpu[vcpu]!.nested.cached_vmcs12;
  if (name === 'tpr_threshold')
    return !pages.some((page) => page.name === 'virtual APIC' && page.wanted);
  if (name === 'guest_intr_status' || name.startsWith('eoi_exit_bitmap')) {
    return !secondary.has(secondaryControl.VIRTUAL_INTR_DELIVERY);
  }
  return false;
};

const plainRelation = (at: Place, { name, vmcs01, vmcs12, vmcs02 }: VmcsLine): Relation => {
  const { words } = at;
  const value = (leaf: Leaf | undefined) => (leaf ? valueAt(words, leaf) : undefined);
  if (vmcs12 !== undefined && value(vmcs02) === value(vmcs12)) return equal;
  if (isIdle(at, name)) return { kind: 'unused', text: 'control off in vmcs12' };
  if (fromVmcs01.has(name) && value(vmcs02) === value(vmcs01)) {
    return { kind: 'derived', text: 'vmcs01' };
  }
  if (vmcs12 === undefined) return own;
  const running = runsL2(at.m.vcpu[at.vcpu]!);
  return {
    kind: 'different',
    text: running ? 'since the entry into L2' : 'since L2 was left',
  };
};

const relationAt = (at: Place, line: VmcsLine): Relation => {
  const { name } = line;
  if (line.vmcs02 === undefined || exitFields.has(name)) return own;
  const page = at.pages.find(({ field }) => field === name);
  if (page !== undefined) return pageRelation(at, page);
  if (name === 'ept_pointer') return eptRelation(at);
  if (mergedControls.has(name)) return controlRelation(at.words, line);
  const constant = constants[name]?.(at);
  if (constant !== undefined && valueAt(at.words, line.vmcs02) === constant.value) {
    return { kind: 'derived', text: constant.text };
  }
  return plainRelation(at, line);
};

/** The relation of every field, in the order of the lines. */
export const relationsOf = (
  m: MachineView,
  vcpu: number,
  words: Uint32Array,
  lines: readonly VmcsLine[],
): Relation[] => {
  // Before the first entry nothing of vmcs02 has been written.
  if (!m.vcpu[vcpu]!.nested.vmcs02_initialized) return lines.map(() => own);
  const at: Place = { m, vcpu, words, pages: l1PagesOf(m, vcpu) };
  return lines.map((line) => relationAt(at, line));
};
