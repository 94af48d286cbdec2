/** The MSR bitmap that runs L2: L0's and L1's together. */
import { put_page } from '../../../host/frames.ts';
import { readFrame } from '../../../hw/memory.ts';
import { primaryOn, secondaryOn } from '../../../hw/vmcs.ts';
import { APIC_EOI, APIC_SELF_IPI, APIC_TASKPRI } from '../../../state/apicdef.ts';
import { cpuControl, secondaryControl } from '../../../state/vmcs.ts';
import { kvm, type Machine } from '../../../steps.ts';
import { mapL1MsrBitmap } from './pages.ts';

/** Byte offsets of MSR 0x800 in the page: RDMSR of the low MSRs first, WRMSR 2 KiB behind. */
const READ_X2APIC = 0x100;
const WRITE_X2APIC = 0x900;
const wordsOfX2apic = 8;

type Bitmap = Machine['vcpu'][number]['nested']['msr_bitmap']['x2apic_read'];

const interceptAll = (bitmap: Bitmap): void => {
  for (let i = 0; i < wordsOfX2apic; i++) {
    if (bitmap.word(i) !== 0xffff_ffff) bitmap.setWord(i, 0xffff_ffff);
  }
};

const isPassed = (m: Machine, pfn: number, base: number, msr: number): boolean =>
  (readFrame(m, pfn, base + (msr >>> 5) * 4) & (1 << (msr & 31))) === 0;

/** Lets an MSR through that L1 lets through. @kvm nested.c: nested_vmx_disable_intercept_for_x2apic_msr */
const passAsL1 = (
  m: Machine,
  pfn: number,
  bitmap: Bitmap,
  { base, offset }: { readonly base: number; readonly offset: number },
): void => {
  const msr = offset >>> 4;
  if (isPassed(m, pfn, base, msr)) bitmap.clear(msr);
};

/** What a vmcs12 that virtualizes x2APIC mode does not want to see of L2's accesses. */
const mergeX2apic = (m: Machine, vcpu: number, pfn: number): void => {
  const { cached_vmcs12: vmcs12, msr_bitmap } = m.vcpu[vcpu]!.nested;
  const { x2apic_read: reads, x2apic_write: writes } = msr_bitmap;
  if (secondaryOn(vmcs12, secondaryControl.APIC_REGISTER_VIRT)) {
    for (let i = 0; i < wordsOfX2apic; i++) {
      reads.setWord(i, readFrame(m, pfn, READ_X2APIC + 4 * i));
    }
  }
  passAsL1(m, pfn, reads, { base: READ_X2APIC, offset: APIC_TASKPRI });
  passAsL1(m, pfn, writes, { base: WRITE_X2APIC, offset: APIC_TASKPRI });
  if (!secondaryOn(vmcs12, secondaryControl.VIRTUAL_INTR_DELIVERY)) return;
  passAsL1(m, pfn, writes, { base: WRITE_X2APIC, offset: APIC_EOI });
  passAsL1(m, pfn, writes, { base: WRITE_X2APIC, offset: APIC_SELF_IPI });
};

/**
 * Fills the MSR bitmap of vmcs02; false if L2 has to run without one, so that every access exits.
 * @omits MSRs that have nothing to do with the APIC, and that an unchanged bitmap is kept
 */
export const nested_vmx_prepare_msr_bitmap = kvm(
  'arch/x86/kvm/vmx/nested.c',
  function* nested_vmx_prepare_msr_bitmap(m: Machine, vcpu: number) {
    const { cached_vmcs12: vmcs12, msr_bitmap } = m.vcpu[vcpu]!.nested;
    if (!primaryOn(vmcs12, cpuControl.MSR_BITMAPS)) return false;
    const pfn: number = yield* mapL1MsrBitmap(m, vcpu);
    if (pfn < 0) return false;
    yield m.step('merge the MSR bitmap of L1 in pfn {pfn} into that of vmcs02', pfn);
    interceptAll(msr_bitmap.x2apic_read);
    interceptAll(msr_bitmap.x2apic_write);
    if (secondaryOn(vmcs12, secondaryControl.VIRTUALIZE_X2APIC_MODE)) mergeX2apic(m, vcpu, pfn);
    put_page(m, pfn);
    return true;
  },
);
