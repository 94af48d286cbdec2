/** A memory access of the guest: translation, and what is behind it. */
import { apicAccessGfn, rootOf } from '../state/addresses.ts';
import { APIC_TASKPRI } from '../state/lapic.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import { exitReason } from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { isApicAccess, virtualizeTprAccess } from './apic_virtualization.ts';
import { spteOf } from './ept.ts';
import { readFrame, writeFrame } from './memory.ts';
import { tlbFill, tlbLookup } from './tlb.ts';

/** An access of 4 bytes; `value` matters for a write. */
export interface Access {
  readonly gpa: number;
  readonly write: boolean;
  readonly value: number;
}

/** The access itself, once its frame is known: virtualized, or to the bytes of the frame. */
const accessFrame = (m: Machine, vcpu: number, pfn: number, access: Access): number => {
  const offset = access.gpa % PAGE_SIZE;
  if (isApicAccess(m, vcpu, pfn)) {
    // Only the TPR is virtualized in this version: everything else exits.
    if (offset !== APIC_TASKPRI) return exitReason.APIC_ACCESS;
    return virtualizeTprAccess(m, vcpu, access.write, access.value);
  }
  if (Math.floor(access.gpa / PAGE_SIZE) === apicAccessGfn) m.vm.spec.raw_apic_accesses++;
  if (access.write) writeFrame(m, pfn, offset, access.value);
  else m.vcpu[vcpu]!.guest.value = readFrame(m, pfn, offset);
  return exitReason.NONE;
};

/**
 * Gives the exit reason, NONE if the access completed.
 * @sdm 29.3 EPT, 30.4 Virtualizing memory-mapped APIC accesses
 * @omits accessed and dirty flags, page sizes other than 4 KiB
 */
export const guestAccess = sdm(
  '29.3',
  function* guestAccess(m: Machine, vcpu: number, access: Access) {
    const gfn = Math.floor(access.gpa / PAGE_SIZE);
    let pfn = tlbLookup(m, vcpu, gfn);
    if (pfn < 0) {
      yield m.step('gfn {gfn}: not in the TLB, walk the EPT', gfn);
      const { vmcs01 } = m.vcpu[vcpu]!;
      const root = rootOf(vmcs01.ept_pointer);
      const index = spteOf(m, root, gfn);
      if (index < 0) {
        vmcs01.guest_physical_address = access.gpa;
        vmcs01.exit_qualification = access.write ? 2 : 1;
        return exitReason.EPT_VIOLATION as number;
      }
      pfn = m.ept[root]!.spte[index]!.pfn;
      tlbFill(m, vcpu, gfn, pfn);
    }
    yield m.step('access pfn {pfn}: the APIC-access page, or its bytes', pfn);
    return accessFrame(m, vcpu, pfn, access);
  },
);
