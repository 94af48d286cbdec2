/** The MSR bitmap that runs L2: L0's and L1's together. */
import { readFrame } from '../../../hw/memory.ts';
import { primaryOn, secondaryOn } from '../../../hw/vmcs.ts';
import { APIC_EOI, APIC_SELF_IPI, APIC_TASKPRI } from '../../../state/apicdef.ts';
import { gpcOf } from '../../../state/gpc.ts';
import { PAGE_SIZE } from '../../../state/machine.ts';
import { cpuControl, otherMsr, secondaryControl } from '../../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { kvm_vcpu_map, kvm_vcpu_unmap } from '../../host_map.ts';
import { cacheOf, nested_gpc_lock, nested_gpc_unlock, usesCaches } from './caches.ts';
import { isMsrBitmapClean } from './evmcs.ts';

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

/** The bitmap of a new vmcs02. @kvm arch/x86/kvm/vmx/vmx.c: alloc_loaded_vmcs */
export const interceptEverything = (m: Machine, vcpu: number): void => {
  const { x2apic_read, x2apic_write, other_read, other_write } = m.vcpu[vcpu]!.nested.msr_bitmap;
  interceptAll(x2apic_read);
  interceptAll(x2apic_write);
  other_read.setWord(0, 0xffff_ffff);
  other_write.setWord(0, 0xffff_ffff);
};

const isPassed = (m: Machine, pfn: number, base: number, msr: number): boolean =>
  (readFrame(m, pfn, base + (msr >>> 5) * 4) & (1 << (msr & 31))) === 0;

/**
 * Lets an MSR through that L1 lets through.
 * @kvm nested.c: nested_vmx_disable_intercept_for_x2apic_msr
 */
const passAsL1 = (
  m: Machine,
  pfn: number,
  bitmap: Bitmap,
  { base, offset }: { readonly base: number; readonly offset: number },
): void => {
  const msr = offset >>> 4;
  if (isPassed(m, pfn, base, msr)) bitmap.clear(msr);
};

/** Accesses that the CPU can serve from the virtual-APIC page: where L1 says so, and which. */
const readTpr = { base: READ_X2APIC, offset: APIC_TASKPRI };
const writeTpr = { base: WRITE_X2APIC, offset: APIC_TASKPRI };
const writeEoi = { base: WRITE_X2APIC, offset: APIC_EOI };
const writeSelfIpi = { base: WRITE_X2APIC, offset: APIC_SELF_IPI };

/** What a vmcs12 that virtualizes x2APIC mode does not want to see of L2's accesses. */
const mergeX2apic = (m: Machine, vcpu: number, pfn: number): void => {
  const { cached_vmcs12: vmcs12, msr_bitmap } = m.vcpu[vcpu]!.nested;
  const { x2apic_read: reads, x2apic_write: writes } = msr_bitmap;
  if (secondaryOn(vmcs12, secondaryControl.APIC_REGISTER_VIRT)) {
    for (let i = 0; i < wordsOfX2apic; i++) {
      reads.setWord(i, readFrame(m, pfn, READ_X2APIC + 4 * i));
    }
  }
  passAsL1(m, pfn, reads, readTpr);
  passAsL1(m, pfn, writes, writeTpr);
  if (!secondaryOn(vmcs12, secondaryControl.VIRTUAL_INTR_DELIVERY)) return;
  passAsL1(m, pfn, writes, writeEoi);
  passAsL1(m, pfn, writes, writeSelfIpi);
};

/** Where an MSR stands: the low ones first, those from 0xc0000000 on 1 KiB behind. */
const READ_LOW = 0;
const READ_HIGH = 1024;
const bytesOfReads = 2048;

interface OtherMsr {
  readonly bit: number;
  readonly base: number;
  /** its number, from where its part of the bitmap begins */
  readonly msr: number;
  readonly writeOnly: boolean;
}

const others: readonly OtherMsr[] = [
  { bit: otherMsr.FS_BASE, base: READ_HIGH, msr: 0x100, writeOnly: false },
  { bit: otherMsr.GS_BASE, base: READ_HIGH, msr: 0x101, writeOnly: false },
  { bit: otherMsr.KERNEL_GS_BASE, base: READ_HIGH, msr: 0x102, writeOnly: false },
  { bit: otherMsr.SPEC_CTRL, base: READ_LOW, msr: 0x48, writeOnly: false },
  { bit: otherMsr.PRED_CMD, base: READ_LOW, msr: 0x49, writeOnly: true },
  { bit: otherMsr.FLUSH_CMD, base: READ_LOW, msr: 0x10b, writeOnly: true },
];

const merge = (bitmap: Bitmap, bit: number, passed: boolean): void => {
  if (passed === bitmap.has(bit)) passed ? bitmap.clear(bit) : bitmap.set(bit);
};

/** L2 reaches what both let their guest reach. @kvm nested.c: nested_vmx_set_intercept_for_msr */
const mergeOthers = (m: Machine, vcpu: number, pfn: number): void => {
  const { msr_bitmap: l0, nested } = m.vcpu[vcpu]!;
  const { other_read: reads, other_write: writes } = nested.msr_bitmap;
  for (const { bit, base, msr, writeOnly } of others) {
    if (!writeOnly) merge(reads, bit, !l0.other_read.has(bit) && isPassed(m, pfn, base, msr));
    const byL1 = isPassed(m, pfn, base + bytesOfReads, msr);
    merge(writes, bit, !l0.other_write.has(bit) && byL1);
  }
};

/** The frame of L1's MSR bitmap, mapped for a moment or locked in its cache; −1 without one. */
function* holdL1Bitmap(m: Machine, vcpu: number): Body<number> {
  const { cached_vmcs12: vmcs12, msr_bitmap_map: map } = m.vcpu[vcpu]!.nested;
  if (usesCaches(m)) {
    const id = cacheOf(m, vcpu, 'msr_bitmap_cache');
    const error: number = yield* nested_gpc_lock(m, vcpu, id, vmcs12.msr_bitmap);
    return error < 0 ? -1 : gpcOf(m, id).khva_pfn;
  }
  const gfn = Math.floor(vmcs12.msr_bitmap / PAGE_SIZE);
  const error: number = yield* kvm_vcpu_map(m, vcpu, map, { gfn, writable: false });
  return error < 0 ? -1 : map.pfn;
}

function* letGoOfL1Bitmap(m: Machine, vcpu: number): Body<void> {
  if (usesCaches(m)) yield* nested_gpc_unlock(m, cacheOf(m, vcpu, 'msr_bitmap_cache'));
  else yield* kvm_vcpu_unmap(m, vcpu, m.vcpu[vcpu]!.nested.msr_bitmap_map);
}

/** Fills the MSR bitmap of vmcs02; false if L2 has to run without one: every access exits. */
export const nested_vmx_prepare_msr_bitmap = kvm(
  'arch/x86/kvm/vmx/nested.c',
  function* nested_vmx_prepare_msr_bitmap(m: Machine, vcpu: number) {
    const { cached_vmcs12: vmcs12, msr_bitmap } = m.vcpu[vcpu]!.nested;
    if (!primaryOn(vmcs12, cpuControl.MSR_BITMAPS)) return false;
    // The one of the last entry is still right.
    if (isMsrBitmapClean(m, vcpu)) return true;
    const pfn: number = yield* holdL1Bitmap(m, vcpu);
    if (pfn < 0) return false;
    yield m.step('merge the MSR bitmap of L1 in pfn {pfn} into that of vmcs02', pfn);
    interceptAll(msr_bitmap.x2apic_read);
    interceptAll(msr_bitmap.x2apic_write);
    if (secondaryOn(vmcs12, secondaryControl.VIRTUALIZE_X2APIC_MODE)) mergeX2apic(m, vcpu, pfn);
    mergeOthers(m, vcpu, pfn);
    yield* letGoOfL1Bitmap(m, vcpu);
    m.vcpu[vcpu]!.nested.force_msr_bitmap_recalc = false;
    return true;
  },
);
