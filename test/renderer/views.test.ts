// Rows, registers, ranges and texts that the views draw.

import { expect, test } from 'vitest';
import { LeafIndex, leafAt } from '../../main/sim/arena/leaves.ts';
import { racesOf } from '../../main/sim/races.ts';
import { layoutOf } from '../../main/sim/state/machine.ts';
import { hex2, meaningOf, pageOf, vectorsOf } from '../../renderer/page/registers.ts';
import { encodedTokens, tokenKinds } from '../../renderer/scenario/tokens.ts';
import { differingSwitches } from '../../renderer/shell/switch_texts.ts';
import {
  ancestorsOf,
  filterTest,
  helpOf,
  helpOfRow,
  rowsInSight,
  treeOf,
} from '../../renderer/state/tree.ts';
import {
  geometryOf,
  gutter,
  positionAtX,
  tickSpan,
  xOf,
} from '../../renderer/timeline/geometry.ts';
import { clamped, following, zoomed } from '../../renderer/timeline/range.ts';
import { vmcsFields } from '../../renderer/vmcs/fields.ts';

const layout = layoutOf({ vcpus: 2, actors: 3, frames: 4, memoryPages: 0 });
const index = new LeafIndex(layout);

test('the tree shows what is opened, and with a filter what passes it with its parents', () => {
  const tree = treeOf(layout, index);
  const sight = { opened: new Set<string>(), filter: '', only: undefined };
  expect(rowsInSight(tree, sight).map(({ name }) => name)).toEqual(
    layout.fields.map(({ name }) => name),
  );
  const filtered = rowsInSight(tree, { ...sight, filter: 'vcpu[1].vmcs01.apic_access_addr' });
  expect(filtered.map(({ path }) => path)).toEqual([
    'vcpu',
    'vcpu[1]',
    'vcpu[1].vmcs01',
    'vcpu[1].vmcs01.apic_access_addr',
  ]);
});

test('a filter is a glob if it has a star, else words that all occur', () => {
  expect(filterTest('vcpu[*].apic.irr')('vcpu[1].apic.irr')).toBe(true);
  expect(filterTest('apic IRR')('vcpu[1].apic.irr')).toBe(true);
  expect(filterTest('apic isr')('vcpu[1].apic.irr')).toBe(false);
});

test('the parents of a changed field are all records and arrays around it', () => {
  const leaf = index.leaves.find(({ path }) => path === 'vcpu[1].apic.tpr')!;
  expect([...ancestorsOf([leaf])].sort()).toEqual(['vcpu', 'vcpu[1]', 'vcpu[1].apic']);
});

test('help tells path, meaning, kind, MSR, rule, writers and source, without markup', () => {
  const lines = helpOf(leafAt(layout, 'vcpu[0].apic.spiv')!).split('\n');
  expect(lines.map((line) => line.split(/[:;]| of /)[0])).toEqual([
    'vcpu[0].apic.spiv',
    'spurious vector',
    'uint',
    'MSR 0x80f',
    'rule',
    'written by',
    'see',
  ]);
  expect(lines.join()).not.toContain('`');
  expect(helpOfRow({ path: 'vcpu[0].apic', doc: 'the local APIC' })).toBe(
    'vcpu[0].apic\nthe local APIC\nsee: struct kvm_lapic, arch/x86/kvm/lapic.h',
  );
});

test('the register page has 64 rows of 16 bytes with the registers at their offsets', () => {
  const rows = pageOf(layout, index, 1);
  expect(rows).toHaveLength(64);
  expect(rows[8]).toMatchObject({ offset: 0x80, name: 'tpr' });
  expect(rows[0x21]).toMatchObject({ offset: 0x210, name: 'irr 0x20–0x3f', part: 1 });
  expect(rows[1]).toMatchObject({ name: '', leaf: undefined });
  expect(meaningOf(rows[0x21]!, 0b11)).toBe('0x20 0x21');
  expect(meaningOf(rows[0x0f]!, 0x1ff)).toBe('enabled, spurious 0xff');
  expect(vectorsOf(1 << 31, 7)).toEqual([255]);
  expect(hex2(5)).toBe('0x05');
});

test('VMCS fields stand in the order of their encodings', () => {
  const encodings = vmcsFields(index, 0).map(({ encoding }) => encoding);
  expect(encodings[0]).toBe('0x0000');
  expect(encodings).toEqual([...encodings].sort());
});

test('a range stays inside the recording, and zooming keeps its centre', () => {
  expect(clamped(-5, 10, 100)).toEqual({ from: 0, to: 10 });
  expect(clamped(95, 10, 100)).toEqual({ from: 90, to: 100 });
  expect(zoomed({ from: 0, to: 100 }, 0.5, 50, 100)).toEqual({ from: 25, to: 75 });
  expect(following({ from: 0, to: 50 }, 80, 100).to).toBeGreaterThan(80);
  expect(following({ from: 0, to: 50 }, 20, 100)).toEqual({ from: 0, to: 50 });
});

test('a click on a step makes it the current one', () => {
  const geometry = geometryOf({ width: gutter + 1000, height: 200 }, 3, { from: 0, to: 100 });
  expect(positionAtX(geometry, xOf(geometry, 41) + 1)).toBe(42);
  expect(positionAtX(geometry, gutter - 1)).toBe(0);
  expect(tickSpan(0.01, 80)).toBe(10_000);
  expect(tickSpan(100, 80)).toBe(1);
});

test('tokens of the editor are relative to the one before them', () => {
  const tokens = encodedTokens('race R01\nprofile k6.6');
  const keyword = tokenKinds.indexOf('keyword');
  expect([...tokens.slice(0, 5)]).toEqual([0, 0, 4, keyword, 0]);
  expect([...tokens.slice(10, 15)]).toEqual([1, 0, 7, keyword, 0]);
});

test('a string over several lines is coloured line by line', () => {
  const tokens = encodedTokens('about """\nab\ncd\n"""');
  const string = tokenKinds.indexOf('string');
  const lines = [...tokens].filter((_, i) => i % 5 === 3).filter((kind) => kind === string);
  expect(lines).toHaveLength(4);
});

test('switches that differ say whether a protection is weaker', () => {
  const whole = { a: 'on', b: 'off', c: 'standard' };
  expect(differingSwitches({ a: 'off', b: 'on', c: 'standard' }, whole)).toEqual([
    { text: 'a off', weaker: true },
    { text: 'b on', weaker: false },
  ]);
});

test('twins of a race stand together', () => {
  const entry = (id: string, race: string | undefined, twin: 'buggy' | 'fixed' | undefined) => ({
    id,
    race,
    twin,
    title: id,
  });
  const races = racesOf([
    entry('R02-fixed', 'R02', 'fixed'),
    entry('R01-fixed', 'R01', 'fixed'),
    entry('R01-buggy', 'R01', 'buggy'),
    entry('lesson', undefined, undefined),
  ]);
  expect(races.map(({ id, entries }) => [id, entries.map((one) => one.id)])).toEqual([
    ['R01', ['R01-buggy', 'R01-fixed']],
    ['R02', ['R02-fixed']],
  ]);
});
