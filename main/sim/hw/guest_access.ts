/** A memory access of the guest: translation, and what is behind it. */
import { apicAccessGfn, hvaOfApicAccessPage, rootOf } from '../state/addresses.ts';
import { MSR_IA32_APICBASE_ENABLE, X2APIC_ENABLE } from '../state/apicdef.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import type { Op } from '../state/program.ts';
import { exitReason, secondaryControl } from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { apicAccessExit, apicWriteEmulation, treatment, treatmentOf } from './apic_access.ts';
import { isApicAccess, virtualApicFrame } from './apic_virtualization.ts';
import { spteOf } from './ept.ts';
import { readBytes, readFrame, writeBytes, writeFrame } from './memory.ts';
import { tlbFill, tlbLookup } from './tlb.ts';
import { currentVmcs, exitFor, secondaryOn } from './vmcs.ts';

/** What an instruction does with memory, apart from where: one object for each kind, made once. */
export interface AccessKind {
  /** in bytes */
  readonly width: 1 | 2 | 4 | 8;
  readonly write: boolean;
  /** a read-modify-write that clears bit 0; the value is what was there */
  readonly clearsBit: boolean;
  /** the CPU makes the access itself, while it delivers an event through the IDT */
  readonly eventDelivery: boolean;
}

const kind = (width: AccessKind['width'], write: boolean): AccessKind => ({
  width,
  write,
  clearsBit: false,
  eventDelivery: false,
});

/** The instructions that touch memory. */
export const accessKinds = {
  read: kind(4, false),
  read8: kind(1, false),
  read16: kind(2, false),
  read64: kind(8, false),
  write: kind(4, true),
  write8: kind(1, true),
  write16: kind(2, true),
  write64: kind(8, true),
} as const satisfies Partial<Record<Op, AccessKind>>;

/** BTR of bit 0 of a byte: one access that reads and writes. */
export const testAndClear: AccessKind = { ...kind(1, true), clearsBit: true };

/** The same access, made while an event is delivered through the IDT. */
export const duringEventDelivery = (access: AccessKind): AccessKind => ({
  ...access,
  eventDelivery: true,
});

/** An access to the bytes of a frame; the guest's registers hold what is read or written. */
const accessBytes = (
  m: Machine,
  vcpu: number,
  place: number,
  { width, write, clearsBit }: AccessKind,
): void => {
  const { guest } = m.vcpu[vcpu]!;
  const pfn = Math.floor(place / PAGE_SIZE);
  const offset = place % PAGE_SIZE;
  if (offset + width > PAGE_SIZE) {
    throw new Error('model: an access of the guest crosses a page; split it in two');
  }
  if (clearsBit) {
    guest.value = readBytes(m, pfn, offset, width);
    writeBytes(m, pfn, offset, width, guest.value & ~1);
  } else if (width === 4 && (offset & 3) === 0) {
    if (write) writeFrame(m, pfn, offset, guest.value);
    else guest.value = readFrame(m, pfn, offset);
  } else if (write) {
    writeBytes(m, pfn, offset, width, guest.value);
    if (width === 8) writeBytes(m, pfn, offset + 4, width, guest.value_high);
  } else {
    guest.value = readBytes(m, pfn, offset, width);
    if (width === 8) guest.value_high = readBytes(m, pfn, offset + 4, width);
  }
};

/** In x2APIC mode, and while the APIC is off, its page is memory that means nothing. */
const hasApicPage = (m: Machine, vcpu: number): boolean => {
  const { guest_mode, apic_base } = m.vcpu[vcpu]!;
  const mode = apic_base & (MSR_IA32_APICBASE_ENABLE | X2APIC_ENABLE);
  return !guest_mode && mode === MSR_IA32_APICBASE_ENABLE;
};

/** Is L2 about to reach the APIC-access page of L1? The APIC of L1 is for KVM to emulate. */
const isPageOfL1 = (m: Machine, vcpu: number, pfn: number): boolean =>
  m.vcpu[vcpu]!.guest_mode &&
  m.pte.some((pte) => pte.used && pte.hva === hvaOfApicAccessPage && pte.pfn === pfn);

/**
 * An access by the guest at `gpa`. A write stores `guest.value` and `guest.value_high`, a read
 * puts them there. Gives the exit reason, NONE if the guest goes on.
 * @sdm 29.3 EPT, 30.4 Virtualizing memory-mapped APIC accesses
 * @omits accessed and dirty flags, page sizes other than 4 KiB
 */
export const guestAccess = sdm(
  '29.3',
  function* guestAccess(m: Machine, vcpu: number, gpa: number, access: AccessKind) {
    const gfn = Math.floor(gpa / PAGE_SIZE);
    const offset = gpa % PAGE_SIZE;
    const vmcs = currentVmcs(m, vcpu);
    let cached = tlbLookup(m, vcpu, gfn);
    if (cached < 0) {
      yield m.step('gfn {gfn}: not in the TLB, walk the EPT', gfn);
      const root = rootOf(vmcs.ept_pointer);
      const index = spteOf(m, root, gfn);
      if (index < 0) {
        vmcs.guest_physical_address = gpa;
        return exitFor(vmcs, exitReason.EPT_VIOLATION, access.write ? 2 : 1);
      }
      const entry = m.ept[root]!.spte[index]!;
      if (entry.mmio) {
        vmcs.guest_physical_address = gpa;
        return exitFor(vmcs, exitReason.EPT_MISCONFIG, 0);
      }
      cached = tlbFill(m, vcpu, gfn, entry.pfn);
    }
    const { pfn, plain } = m.cpu[m.vcpu[vcpu]!.cpu]!.tlb[cached]!;
    yield m.step('access pfn {pfn}: the APIC-access page, or its bytes', pfn);
    if (plain || !isApicAccess(m, vcpu, pfn)) {
      const virtualized = secondaryOn(vmcs, secondaryControl.VIRTUALIZE_APIC_ACCESSES);
      const ofL1 = gfn === apicAccessGfn && hasApicPage(m, vcpu);
      if (ofL1 && virtualized) m.vm.spec.raw_apic_accesses++;
      if (gfn === apicAccessGfn && isPageOfL1(m, vcpu, pfn)) m.vm.spec.raw_apic_accesses++;
      accessBytes(m, vcpu, pfn * PAGE_SIZE + offset, access);
      return exitReason.NONE as number;
    }
    const action = treatmentOf(vmcs, offset, access.width, access.write);
    if (action === treatment.EXIT) {
      return apicAccessExit(vmcs, offset, access.write, access.eventDelivery);
    }
    accessBytes(m, vcpu, virtualApicFrame(m, vcpu) * PAGE_SIZE + offset, access);
    if (!access.write) return exitReason.NONE;
    return yield* apicWriteEmulation(m, vcpu, offset, action);
  },
);
