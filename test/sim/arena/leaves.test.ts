// Paths of the machine, globs over them, values and how they are printed.

import { expect, test } from 'vitest';
import { Arena } from '#sim/arena/arena.ts';
import {
  array,
  bits,
  bytes,
  counter,
  flag,
  layOut,
  nested,
  oneOf,
  pfn,
  record,
  u64,
  type ViewOf,
} from '#sim/arena/fields.ts';
import {
  differsAt,
  globTest,
  LeafIndex,
  leafAt,
  leavesMatching,
  leavesOf,
  textOf,
  wordsOf,
} from '#sim/arena/leaves.ts';
import { ALL_ONES_64, viewOf } from '#sim/arena/views.ts';

const Entry = record('entry', 'an entry', {
  used: flag({ at: 0, bit: 3 }, 'a bit'),
  locked: flag({ at: 0, bit: 4 }, 'its neighbour'),
  frame: pfn('a frame'),
});
const Box = record('box', 'everything', {
  mode: oneOf({ OUTSIDE: 0, IN: 1 }, 'a name'),
  seq: counter('a count'),
  wide: u64('an address'),
  requests: bits(64, { as: { TLB_FLUSH: 0, RELOAD: 25 } }, 'named bits'),
  irr: bits(64, 'numbered bits'),
  page: bytes(16, 'raw bytes'),
  entry: array(Entry, 3, 'entries'),
  first: nested(Entry, 'one more'),
});

const layout = layOut(Box, {});

const made = () => {
  const arena = new Arena(layout.bytes >>> 2);
  return { arena, words: arena.words, box: viewOf<ViewOf<typeof Box>>(arena, layout) };
};

const paths = (glob: string): string[] => leavesMatching(layout, glob).map(({ path }) => path);

test('each leaf has one path, and the path leads to the leaf', () => {
  const all = leavesOf(layout);
  expect(new Set(all.map(({ path }) => path)).size).toBe(all.length);
  for (const leaf of all) expect(leafAt(layout, leaf.path)).toEqual(leaf);
});

test('a path that names no leaf gives none', () => {
  const wrong = [
    '',
    'nothing',
    'entry',
    'entry[0]',
    'entry[3].used',
    'entry.used',
    'first[0].used',
    'mode.x',
    'mode[0]',
    'requests[64]',
    'page[3]',
    'page[16]',
    'entry[0].used.',
    'entry[-1].used',
    'entry[0x].used',
  ];
  expect(wrong.filter((path) => leafAt(layout, path) !== undefined)).toEqual([]);
});

test('an index may be decimal or hexadecimal', () => {
  expect(leafAt(layout, 'irr[0x21]')).toMatchObject({ kind: 'flag', bit: 1, width: 1 });
  expect(leafAt(layout, 'irr[0x21]')?.word).toBe(leafAt(layout, 'irr[33]')?.word);
  expect(leafAt(layout, 'page[0xc]')).toMatchObject({ kind: 'uint', width: 32 });
});

test('one star stays inside a component, two cross them', () => {
  expect(paths('entry[*].used')).toEqual(['entry[0].used', 'entry[1].used', 'entry[2].used']);
  expect(paths('*.used')).toEqual([...paths('entry[*].used'), 'first.used']);
  expect(paths('*').every((path) => !path.includes('.'))).toBe(true);
  expect(paths('**').length).toBe(leavesOf(layout).length);
  expect(paths('entry[1]')).toEqual(['entry[1].used', 'entry[1].locked', 'entry[1].frame']);
  expect(paths('first')).toEqual(['first.used', 'first.locked', 'first.frame']);
});

test('what is special in a pattern is ordinary in a glob', () => {
  expect(globTest('entry[1].used')('entry[1].used')).toBe(true);
  expect(globTest('entry[1].used')('entry1.used')).toBe(false);
  expect(globTest('entry.1..used')('entry[1].used')).toBe(false);
});

test('values are printed in the words of their format', () => {
  const { words, box } = made();
  const text = (path: string): string => textOf(words, leafAt(layout, path)!);
  box.mode = 1;
  box.seq = 12;
  box.wide = 0xfee0_0000;
  box.requests.set(0);
  box.requests.set(25);
  box.requests.set(40);
  box.irr.set(0x31);
  box.page.setU8(1, 0xab);
  box.entry[0]!.frame = -1;
  box.entry[1]!.frame = 7;
  expect(text('mode')).toBe('IN');
  expect(text('seq')).toBe('12');
  expect(text('wide')).toBe('0xfee00000');
  expect(text('requests')).toBe('{TLB_FLUSH RELOAD 0x28}');
  expect(text('irr')).toBe('{0x31}');
  expect(text('irr[0x31]')).toBe('1');
  expect(text('page')).toBe(`00ab${'00'.repeat(14)}`);
  expect(text('page[0]')).toBe('0xab00');
  expect(text('entry[0].frame')).toBe('none');
  expect(text('entry[1].frame')).toBe('pfn 7');
  expect(text('entry[1].used')).toBe('0');
  box.mode = 9;
  box.wide = ALL_ONES_64;
  expect(text('mode')).toBe('0x9');
  expect(text('wide')).toBe('~0');
});

test('two images differ only at the leaves that were changed', () => {
  const { words, box } = made();
  const before = words.slice();
  box.entry[1]!.locked = true;
  box.irr.set(63);
  const changed = leavesOf(layout).filter((leaf) => differsAt(before, words, leaf));
  expect(changed.map(({ path }) => path)).toEqual(['irr', 'entry[1].locked']);
});

test('the leaves of a word are all leaves that it is part of', () => {
  const index = new LeafIndex(layout);
  const used = leafAt(layout, 'entry[1].used')!;
  expect(index.at(used.word).map(({ path }) => path)).toEqual(['entry[1].used', 'entry[1].locked']);
  for (const leaf of index.leaves) {
    for (let i = 0; i < wordsOf(leaf); i++) {
      expect(index.at(leaf.word + i * leaf.step)).toContain(leaf);
    }
  }
  expect(index.at(layout.bytes)).toEqual([]);
});
