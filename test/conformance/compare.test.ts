// The comparison: exactly the keys that a case has, and every difference by its path.

import { expect, test } from 'vitest';
import type { JsonObject, Observed } from '../../main/conformance/adapter.ts';
import { differences } from '../../main/conformance/compare.ts';

/** Differences between what is expected and a machine of plain values. */
const compared = (expected: JsonObject, machine: Record<string, Observed>) =>
  differences(expected, (key) => {
    if (!Object.hasOwn(machine, key)) throw new Error(`no adapter knows expect "${key}"`);
    return machine[key];
  });

test.each<[string, JsonObject, Record<string, Observed>]>([
  ['a number is its hex form', { value: '0x10', count: 3 }, { value: 16, count: 3n }],
  ['wide numbers are compared whole', { v: '0xff00000000000001' }, { v: 0xff00_0000_0000_0001n }],
  ['leading zeros mean nothing', { v: '0x000000ff' }, { v: '0xFF' }],
  ['offsets too', { vapic: { '0x080': '0x10' } }, { vapic: { '0x80': 16, '0xa0': 1 } }],
  ['none is null or -1', { deliverable: null, max: -1 }, { deliverable: -1, max: null }],
  ['only the bits of a mask count', { value: '0xf1', value_mask: '0xf0' }, { value: 0xf2 }],
  [
    'a mask may have a word for each word',
    { vapic: { '0x080': '0x50', '0x0a0': 1 }, vapic_mask: { '0x080': '0xf0' } },
    { vapic: { '0x080': 0x5f, '0x0a0': 1 } },
  ],
  ['within the tolerance', { ticks: 1000, tolerance_percent: 5 }, { ticks: 950 }],
  ['keys that are not expected are not read', {}, { irr: [1] }],
])('%s', (_, expected, machine) => {
  expect(compared(expected, machine)).toEqual([]);
});

test.each<[string, JsonObject, Record<string, Observed>, object]>([
  ['a wrong value', { tpr: '0x10' }, { tpr: 17 }, { path: 'tpr', expected: '0x10', got: '0x11' }],
  ['a set with more members', { irr: [1] }, { irr: [1, 2] }, { path: 'irr', got: [1, 2] }],
  ['nothing expected', { irr: [] }, { irr: [1] }, { path: 'irr', expected: [], got: [1] }],
  ['a value that is missing', { value: 0 }, { value: undefined }, { path: 'value' }],
  ['none instead of zero', { vector: 0 }, { vector: -1 }, { path: 'vector', got: -1 }],
  ['zero instead of none', { vector: null }, { vector: 0 }, { path: 'vector', got: 0 }],
  [
    'a word that changed besides',
    { changed: {} },
    { changed: { '0x080': 1 } },
    { path: 'changed.0x080', expected: 'nothing', got: 1 },
  ],
  [
    'one of a list of records',
    { per_vcpu: [{}, { nmi: 1 }] },
    { per_vcpu: [{}, {}] },
    { path: 'per_vcpu[1].nmi', expected: 1 },
  ],
  ['a vCPU too few', { per_vcpu: [{}, {}] }, { per_vcpu: [{}] }, { path: 'per_vcpu' }],
  ['outside the mask', { value: '0x50', value_mask: '0xf0' }, { value: 0x60 }, { path: 'value' }],
  [
    'outside the tolerance',
    { ticks: 1000, tolerance_percent: 5 },
    { ticks: 949 },
    { path: 'ticks', got: 949 },
  ],
  [
    'a key that nobody knows',
    { frobs: 1 },
    {},
    { path: 'frobs', got: 'no adapter knows expect "frobs"' },
  ],
  ['a mask of nothing', { value_mask: 1 }, {}, { path: 'value_mask' }],
])('%s is a difference', (_, expected, machine, found) => {
  expect(compared(expected, machine)).toMatchObject([found]);
});
