/** vmcs01 runs L1 and vmcs02 runs L2: neither gets what belongs to the other. */
import type { MachineView } from '../../state/machine.ts';
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

export const inv_vmcs_loaded: Check = {
  id: 'inv-vmcs-loaded',
  when: 'step',
  per: 'vcpu',
  summary: 'what is meant for vmcs01 is written while vmcs01 is loaded',
  why: 'VMWRITE reaches the loaded VMCS, whichever that is: L1 runs on with the old value',
  races: ['R05', 'R32', 'R33', 'R64'],
  reads: ['vcpu[*].spec.misdirected_vmwrites'],
  broken(m, index) {
    const { misdirected_vmwrites: count } = m.vcpu[index]!.spec;
    return count === 0
      ? undefined
      : violated(
          `a VMWRITE of vCPU ${index} for vmcs01 went to vmcs02 (${count} so far)`,
          `vcpu[${index}].spec.misdirected_vmwrites`,
        );
  },
};

const bitmaps = [
  'eoi_exit_bitmap0',
  'eoi_exit_bitmap1',
  'eoi_exit_bitmap2',
  'eoi_exit_bitmap3',
] as const;

/** The first EOI-exit bitmap of vmcs02 that is not that of vmcs12. */
const foreignBitmap = (m: MachineView, index: number): string | undefined => {
  const { vmcs02, nested } = m.vcpu[index]!;
  return bitmaps.find((name) =>
    [0, 1].some((half) => vmcs02[name].word(half) !== nested.cached_vmcs12[name].word(half)),
  );
};

export const inv_vmcs02_only_l2_state: Check = {
  id: 'inv-vmcs02-only-l2-state',
  when: 'step',
  per: 'vcpu',
  summary:
    'while L2 is active the EOI-exit bitmap of vmcs02 is that of vmcs12, and RVI and SVI of L1 are ' +
    'never written there',
  why: 'L2 would get interrupts of L1, or lose its own; L1 would not see the EOIs that it asked for',
  races: ['R30', 'R32', 'R64'],
  reads: [
    'vcpu[*].spec.l1_status_in_vmcs02',
    'vcpu[*].guest_mode',
    'vcpu[*].nested.dirty_vmcs12',
    ...bitmaps.flatMap((name) => [
      `vcpu[*].vmcs02.${name}`,
      `vcpu[*].nested.cached_vmcs12.${name}`,
    ]),
  ],
  broken(m, index) {
    const { spec, guest_mode, nested } = m.vcpu[index]!;
    if (spec.l1_status_in_vmcs02 > 0) {
      return violated(
        `RVI or SVI of L1 went into vmcs02 of vCPU ${index} (${spec.l1_status_in_vmcs02} so far)`,
        `vcpu[${index}].spec.l1_status_in_vmcs02`,
      );
    }
    if (!guest_mode || nested.dirty_vmcs12) return undefined;
    const name = foreignBitmap(m, index);
    return name === undefined
      ? undefined
      : violated(
          `${name} of vmcs02 of vCPU ${index} is not that of vmcs12`,
          `vcpu[${index}].vmcs02.${name}`,
          `vcpu[${index}].nested.cached_vmcs12.${name}`,
        );
  },
};

export const inv_vmcs12_private: Check = {
  id: 'inv-vmcs12-private',
  when: 'step',
  per: 'vcpu',
  summary: 'only the thread of a vCPU reads and writes its copy of vmcs12',
  why: 'VMXOFF frees the copy and VMPTRLD replaces it while another thread looks into it',
  races: ['R34'],
  reads: ['vcpu[*].spec.vmcs12_foreign_reads'],
  broken(m, index) {
    const { vmcs12_foreign_reads: count } = m.vcpu[index]!.spec;
    return count === 0
      ? undefined
      : violated(
          `another thread has read vmcs12 of vCPU ${index} (${count} so far)`,
          `vcpu[${index}].spec.vmcs12_foreign_reads`,
        );
  },
};

export const inv_run_pending: Check = {
  id: 'inv-run-pending',
  when: 'step',
  per: 'vcpu',
  summary: 'no exit to L1 is emulated while an entry into L2 is committed and not executed',
  why: 'L1 would see an exit of an L2 that never ran, and the event that it injects is lost',
  races: ['R41'],
  reads: ['vcpu[*].spec.exits_while_run_pending'],
  broken(m, index) {
    const { exits_while_run_pending: count } = m.vcpu[index]!.spec;
    return count === 0
      ? undefined
      : violated(
          `L2 of vCPU ${index} was left before its entry was executed (${count} so far)`,
          `vcpu[${index}].spec.exits_while_run_pending`,
        );
  },
};
