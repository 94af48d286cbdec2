// The TLB of a physical CPU: tags, replacement, and how far each INVEPT reaches.

import { expect, test } from 'vitest';
import { inveptAllContext, inveptSingleContext, tlbFill, tlbLookup } from '#sim/hw/tlb.ts';
import { eptpOf } from '#sim/state/addresses.ts';
import type { Machine } from '#sim/steps.ts';
import { smallMachine } from '../small_machine.ts';

/** Caches gfn 0x10 once under root 0 and once under root 1. */
const twoRoots = (): Machine => {
  const m = smallMachine({ boot: 'reset' });
  const { vmcs01 } = m.vcpu[0]!;
  vmcs01.ept_pointer = eptpOf(0);
  tlbFill(m, 0, 0x10, 4);
  vmcs01.ept_pointer = eptpOf(1);
  tlbFill(m, 0, 0x10, 5);
  return m;
};

/** The frame that is cached for a gfn, −1 for none. */
const frameOf = (m: Machine, gfn: number): number => m.cpu[0]!.tlb[tlbLookup(m, 0, gfn)]?.pfn ?? -1;

const lookUp = (m: Machine, root: number): number => {
  m.vcpu[0]!.vmcs01.ept_pointer = eptpOf(root);
  return frameOf(m, 0x10);
};

test('a translation is found under the EP4TA and the VPID that it was cached with', () => {
  const m = twoRoots();
  expect([lookUp(m, 0), lookUp(m, 1), lookUp(m, 2)]).toEqual([4, 5, -1]);
  m.vcpu[0]!.vmcs01.virtual_processor_id = 9;
  expect(lookUp(m, 0)).toBe(-1);
});

test('switching EPTP flushes nothing: back under the old root the old translation is used', () => {
  const m = twoRoots();
  lookUp(m, 2);
  expect(lookUp(m, 0)).toBe(4);
});

test('single-context INVEPT takes the translations of one EP4TA and leaves the other', () => {
  const m = twoRoots();
  inveptSingleContext(m, 0, 1);
  expect([lookUp(m, 0), lookUp(m, 1)]).toEqual([4, -1]);
});

test('all-context INVEPT takes the translations of both', () => {
  const m = twoRoots();
  inveptAllContext(m, 0);
  expect([lookUp(m, 0), lookUp(m, 1)]).toEqual([-1, -1]);
});

test('INVEPT reaches only the CPU that executes it', () => {
  const m = smallMachine({ vcpus: 2 });
  const entries = (cpu: number): number => m.cpu[cpu]!.tlb.filter(({ valid }) => valid).length;
  expect([entries(0), entries(1)]).toEqual([1, 1]);
  inveptAllContext(m, 0);
  expect([entries(0), entries(1)]).toEqual([0, 1]);
});

test('a full TLB replaces its oldest translation', () => {
  const m = smallMachine({ boot: 'reset' });
  m.vcpu[0]!.vmcs01.ept_pointer = eptpOf(0);
  const size = m.cpu[0]!.tlb.length;
  for (let gfn = 0; gfn <= size; gfn++) tlbFill(m, 0, gfn, 3);
  expect([frameOf(m, 0), frameOf(m, 1), frameOf(m, size)]).toEqual([-1, 3, 3]);
});
