// The APIC of an L2 as the CPU has it: the virtual-APIC page and the descriptor that vmcs02 names.

import type { RecordType } from '../../main/sim/arena/fields.ts';
import { leafAt } from '../../main/sim/arena/leaves.ts';
import { firstFrame, type MachineView, PAGE_SIZE } from '../../main/sim/state/machine.ts';
import { isHypervisor } from '../memory/l1_pages.ts';
import { frameOf } from '../memory/translate.ts';
import { type FramePage, wordOfLapic } from './registers.ts';

export interface L2Apic {
  /** undefined if vmcs02 names no page */
  readonly page: FramePage | undefined;
  readonly freed: boolean;
  /** first word of the descriptor, −1 without one */
  readonly descriptor: number;
  /** RVI in the low byte, SVI in the high one */
  readonly status: number;
}

/** The frames behind frame 0 are the register pages of the vCPUs. */
const wordOfFrame = (layout: RecordType, m: MachineView, pfn: number): number =>
  pfn - firstFrame < m.vcpu.length
    ? wordOfLapic(layout, pfn - firstFrame)
    : (leafAt(layout, `frame[${pfn}].data`)?.word ?? -1);

const pageAt = (layout: RecordType, m: MachineView, hpa: number): FramePage | undefined => {
  const pfn = frameOf(m, hpa);
  return pfn < 0 ? undefined : { pfn, word: wordOfFrame(layout, m, pfn) };
};

/** Undefined if the guest of the vCPU has never used VMX. */
export const l2ApicOf = (layout: RecordType, m: MachineView, vcpu: number): L2Apic | undefined => {
  const target = m.vcpu[vcpu];
  if (target === undefined || !isHypervisor(target)) return undefined;
  const { virtual_apic_page_addr, posted_intr_desc_addr, guest_intr_status } = target.vmcs02;
  const page = pageAt(layout, m, virtual_apic_page_addr);
  const holder = pageAt(layout, m, posted_intr_desc_addr);
  return {
    page,
    freed: page !== undefined && m.frame[page.pfn]!.freed,
    descriptor:
      holder === undefined ? -1 : holder.word + ((posted_intr_desc_addr % PAGE_SIZE) >>> 2),
    status: guest_intr_status,
  };
};
