/** The TLB holds nothing that the EPT has taken back. */
import type { MachineView, VcpuView } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import type { Check } from '../check.ts';
import { interruptionReads, isInterrupted } from '../entry/requests.ts';
import { hex, violated } from '../violation.ts';

/**
 * Will the translation be flushed before the page behind it is given away, as far as anybody has
 * promised? A request does so only if the vCPU leaves the guest for it.
 */
const flushIsDue = (m: MachineView, vcpu: VcpuView): boolean =>
  m.vm.spec.zap_unflushed > 0 ||
  ((vcpu.requests.has(KVM_REQ.TLB_FLUSH) || vcpu.requests.has(KVM_REQ.TLB_FLUSH_CURRENT)) &&
    isInterrupted(m, vcpu));

const mapsTo = (m: MachineView, root: number, gfn: number): number => {
  for (const spte of m.ept[root]!.spte) if (spte.present && spte.gfn === gfn) return spte.pfn;
  return -1;
};

export const inv_no_stale_tlb: Check = {
  id: 'inv-no-stale-tlb',
  when: 'entry',
  per: 'vcpu',
  summary:
    'at VM entry each cached translation of the CPU agrees with the EPT that it is from, or a ' +
    'flush is on its way',
  why: 'through a stale translation the guest reaches a page that is no longer its own',
  races: ['R03', 'R04', 'R18'],
  reads: [
    'vcpu[*].cpu',
    'cpu[*].tlb[*].**',
    'ept[*].spte[*].**',
    'vcpu[*].requests',
    ...interruptionReads,
    'vm.spec.zap_unflushed',
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    for (const entry of m.cpu[vcpu.cpu]!.tlb) {
      if (!entry.valid) continue;
      const pfn = mapsTo(m, entry.ep4ta, entry.gfn);
      if (pfn === entry.pfn || flushIsDue(m, vcpu)) continue;
      return violated(
        `the TLB of CPU ${vcpu.cpu} maps gfn ${hex(entry.gfn)} to pfn ${entry.pfn}, ` +
          `EPT root ${entry.ep4ta} ${pfn < 0 ? 'maps nothing there' : `maps pfn ${pfn}`}`,
        `cpu[${vcpu.cpu}].tlb[${entry.index}].pfn`,
      );
    }
    return undefined;
  },
};
