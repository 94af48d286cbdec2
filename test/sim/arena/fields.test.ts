// Laying records out: what hardware fixes stays fixed, the rest gets words of its own.

import { expect, test } from 'vitest';
import {
  array,
  bits,
  bytes,
  flag,
  layOut,
  nested,
  record,
  u8,
  u16,
  u32,
  u64,
  vectors,
} from '#sim/arena/fields.ts';

const Inner = record('inner', 'two words', { a: u32('first'), b: u32('second') });

test('fields without a place get words of their own, one after the other', () => {
  const { fields, bytes: size } = layOut(
    record('r', 'packed', {
      one: flag('a bit in a word of its own'),
      wide: u64('two words'),
      few: bits(40, 'two words of bits'),
      raw: bytes(6, 'two words'),
      inner: nested(Inner, 'a record'),
      many: array(Inner, 'n', 'three records'),
      last: u8('a byte in a word of its own'),
    }),
    { n: 3 },
  );
  expect(fields.map(({ name, offset, bit }) => [name, offset, bit])).toEqual([
    ['one', 0, 0],
    ['wide', 4, 0],
    ['few', 12, 0],
    ['raw', 20, 0],
    ['inner', 28, 0],
    ['many', 36, 0],
    ['last', 60, 0],
  ]);
  expect(size).toBe(64);
});

test('fields with a place share a word, and the record is as large as hardware says', () => {
  const { fields, bytes: size } = layOut(
    record(
      'r',
      'placed',
      {
        on: flag({ at: 0x10, bit: 1 }, 'a bit'),
        nv: u8({ at: 0x12 }, 'a byte'),
        index: u16({ at: 0x16 }, 'two bytes'),
        next: u32('behind them'),
      },
      0x40,
    ),
    {},
  );
  expect(fields.map(({ offset, bit, width }) => [offset, bit, width])).toEqual([
    [0x10, 1, 1],
    [0x10, 16, 8],
    [0x14, 16, 16],
    [0x18, 0, 32],
  ]);
  expect(size).toBe(0x40);
});

test('vectors lie as in the APIC page: a word in every 16 bytes, 0x74 bytes in all', () => {
  const { fields, bytes: size } = layOut(
    record('page', 'a page', { irr: vectors({ at: 0x200 }, 'requested'), next: u32('behind') }),
    {},
  );
  expect(fields.map(({ offset, stride }) => [offset, stride])).toEqual([
    [0x200, 16],
    [0x274, 4],
  ]);
  expect(size).toBe(0x278);
});

test('a declaration that cannot be laid out is refused with the name of the field', () => {
  expect(() => layOut(record('r', '', { x: u16({ at: 3 }, 'crosses') }), {})).toThrow(
    'r.x crosses a word',
  );
  expect(() => layOut(record('r', '', { x: array(Inner, 'n', 'how many?') }), {})).toThrow(
    'no dimension n for r.x',
  );
  expect(() => layOut(record('r', '', { x: u64('8 bytes') }, 4), {})).toThrow(
    'r has 8 bytes, more than 4',
  );
});
