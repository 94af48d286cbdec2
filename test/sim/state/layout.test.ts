// The declarations of the machine: what hardware and the kernel fix is where they fix it.

import { expect, test } from 'vitest';
import { type Field, layOut } from '#sim/arena/fields.ts';
import { leavesOf } from '#sim/arena/leaves.ts';
import { eptpOf, hvaOfGuestPage, rootOf } from '#sim/state/addresses.ts';
import { APIC_PROCPRI, APIC_TASKPRI, apicPageBytes, Lapic } from '#sim/state/lapic.ts';
import { limits } from '#sim/state/limits.ts';
import { hpa_to_pfn, layoutOf, PAGE_SIZE, pfn_to_hpa } from '#sim/state/machine.ts';
import { PiDesc } from '#sim/state/pi_desc.ts';
import { Vmcs } from '#sim/state/vmcs.ts';

const offsetsOf = (fields: readonly Field[]): Record<string, number> =>
  Object.fromEntries(fields.map(({ name, offset, bit }) => [name, offset * 8 + bit]));

test('pi_desc has 64 bytes, with PIR, ON, SN, NV and NDST where VT-d puts them', () => {
  const { bytes, fields } = layOut(PiDesc, {});
  expect(bytes).toBe(64);
  expect(offsetsOf(fields)).toEqual({ pir: 0, on: 256, sn: 257, nv: 272, ndst: 288 });
});

test('the registers of the APIC page are at the offsets that their x2APIC MSRs name', () => {
  const { fields } = layOut(Lapic, {});
  const page = fields.filter(({ offset }) => offset < apicPageBytes);
  const tagged = page.filter(({ tag }) => tag >= 0);
  expect(tagged.length).toBeGreaterThan(20);
  for (const { offset, tag } of tagged) expect(offset).toBe((tag - 0x800) << 4);
  // In x2APIC mode ICR is one register of 64 bits: its upper half follows the lower one.
  const between = page.filter(({ offset }) => offset % 16 !== 0);
  expect(between.map(({ name, offset }) => [name, offset])).toEqual([['icr_high', 0x304]]);
  // What x2APIC does not have: arbitration priority, destination format, the upper half of ICR.
  const untagged = page.filter((field) => field.tag < 0 && !between.includes(field));
  expect(untagged.map(({ name }) => name)).toEqual(['apr', 'dfr', 'icr2']);
  expect(offsetsOf(page)).toMatchObject({ tpr: APIC_TASKPRI * 8, ppr: APIC_PROCPRI * 8 });
});

test('the three sets of 256 vectors do not overlap, and fit in front of ESR', () => {
  const { fields } = layOut(Lapic, {});
  const sets = fields.filter(({ kind, width }) => kind === 'bits' && width === 256);
  expect(sets.map(({ name, offset, stride, width }) => [name, offset, stride, width])).toEqual([
    ['isr', 0x100, 16, 256],
    ['tmr', 0x180, 16, 256],
    ['irr', 0x200, 16, 256],
  ]);
});

test('a VMCS field is its encoding: unique, ascending, and as wide as bits 14:13 say', () => {
  const { fields } = layOut(Vmcs, {});
  const encodings = fields.map(({ tag }) => tag);
  expect(encodings.every((tag) => tag >= 0)).toBe(true);
  expect(encodings).toEqual([...new Set(encodings)].sort((a, b) => a - b));
  const widths = [16, 64, 32, 64];
  for (const { name, tag, width } of fields) {
    expect([name, width]).toEqual([name, widths[(tag >>> 13) & 3]]);
    // Bit 0 names the upper half of a 64-bit field, bits 31:15 and 12 are reserved.
    expect([name, tag & 0x9001]).toEqual([name, 0]);
  }
});

test('every field says what it means, in every record, and no two leaves share a bit', () => {
  const layout = layoutOf({ vcpus: 2, actors: 6, frames: 8, memoryPages: 1 });
  const leaves = leavesOf(layout);
  expect(leaves.filter(({ doc }) => doc.length < 5).map(({ path }) => path)).toEqual([]);
  const taken = new Map<number, string>();
  const shared: string[] = [];
  for (const leaf of leaves) {
    for (let i = 0; i < leaf.width; i++) {
      const bit = (leaf.word + (i >>> 5) * leaf.step) * 32 + ((leaf.bit + i) & 31);
      const other = taken.get(bit);
      if (other !== undefined) shared.push(`${leaf.path} and ${other}`);
      taken.set(bit, leaf.path);
    }
  }
  expect([...new Set(shared)]).toEqual([]);
  expect([...taken.keys()].filter((bit) => bit >= layout.bytes * 8)).toEqual([]);
});

test('a bounded machine stays small: the largest fits a few hundred KiB', () => {
  const { vcpus, frames, memoryPages } = limits;
  const largest = layoutOf({ vcpus, frames, memoryPages, actors: 2 * vcpus + 32 });
  expect(largest.bytes).toBeLessThan(1 << 20);
});

test('addresses and their numbers lead back to each other', () => {
  for (const pfn of [1, 2, 63]) expect(hpa_to_pfn(pfn_to_hpa(pfn))).toBe(pfn);
  for (let root = 0; root < limits.eptRoots; root++) expect(rootOf(eptpOf(root))).toBe(root);
  expect(hvaOfGuestPage(3) - hvaOfGuestPage(2)).toBe(PAGE_SIZE);
});
