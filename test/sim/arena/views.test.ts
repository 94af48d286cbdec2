// Accessors: what is set is read back, and is the same as the leaf says.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from '#sim/arena/arena.ts';
import {
  array,
  bits,
  bytes,
  flag,
  layOut,
  nested,
  record,
  s32,
  u8,
  u16,
  u32,
  u64,
  type ViewOf,
  vectors,
} from '#sim/arena/fields.ts';
import { leafAt, valueAt } from '#sim/arena/leaves.ts';
import { ALL_ONES_64, viewOf } from '#sim/arena/views.ts';

const Device = record('device', 'fields of every kind', {
  a: flag({ at: 0, bit: 0 }, 'shares word 0'),
  b: flag({ at: 0, bit: 31 }, 'shares word 0'),
  nv: u8({ at: 2 }, 'shares word 0'),
  half: u16({ at: 6 }, 'the upper half of word 1'),
  plain: u32('a word'),
  wide: u64('two words'),
  signed: s32('a word with a sign'),
  mask: bits(70, 'three words'),
  irr: vectors('eight words, far apart'),
  raw: bytes(12, 'three words'),
});
const Board = record('board', 'two devices', {
  device: array(Device, 2, 'the devices'),
  lone: nested(Device, 'one more'),
});

const layout = layOut(Board, {});

const made = (): { arena: Arena; board: ViewOf<typeof Board> } => {
  const arena = new Arena(layout.bytes >>> 2);
  return { arena, board: viewOf(arena, layout) };
};

const leafValue = (arena: Arena, path: string) => valueAt(arena.words, leafAt(layout, path)!);

test('a field that shares its word leaves its neighbours alone', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ set: fc.constantFrom('a', 'b'), to: fc.boolean() }),
          fc.record({ set: fc.constant('nv'), to: fc.nat(0xff) }),
          fc.record({ set: fc.constant('half'), to: fc.nat(0xffff) }),
        ),
      ),
      (settings) => {
        const { arena, board } = made();
        const device = board.device[1]! as unknown as Record<string, unknown>;
        const expected: Record<string, unknown> = { a: false, b: false, nv: 0, half: 0 };
        for (const { set, to } of settings) {
          device[set] = to;
          expected[set] = to;
        }
        const { a, b, nv, half } = board.device[1]!;
        expect({ a, b, nv, half }).toEqual(expected);
        for (const [name, value] of Object.entries(expected)) {
          expect(leafValue(arena, `device[1].${name}`)).toBe(value);
        }
        expect(board.device[0]!.nv).toBe(0);
      },
    ),
    { seed: 2 },
  );
});

test('numbers keep every bit that they have room for', () => {
  const { arena, board } = made();
  const { lone } = board;
  lone.plain = 0xffff_ffff;
  lone.signed = -1;
  lone.wide = 2 ** 53 - 1;
  expect([lone.plain, lone.signed, lone.wide]).toEqual([0xffff_ffff, -1, 2 ** 53 - 1]);
  expect(leafValue(arena, 'lone.signed')).toBe(-1);
  expect(leafValue(arena, 'lone.wide')).toBe(2 ** 53 - 1);
});

test('all ones in 64 bits is kept apart from every address, and printed as what it is', () => {
  const { arena, board } = made();
  board.lone.wide = ALL_ONES_64;
  expect(board.lone.wide).toBe(ALL_ONES_64);
  expect(leafValue(arena, 'lone.wide')).toBe('0xffffffffffffffff');
  board.lone.wide = 0x1_0000_0000;
  expect(leafValue(arena, 'lone.wide')).toBe(0x1_0000_0000);
});

test('a setting that changes nothing is a write too: the log says who wrote', () => {
  const { arena, board } = made();
  board.lone.plain = 0;
  expect(arena.used).toBeGreaterThan(0);
});

const bitOf = fc.tuple(fc.constantFrom('set', 'clear'), fc.nat(69)) as fc.Arbitrary<
  ['set' | 'clear', number]
>;

test('a set of bits is the set that it is told to be', () => {
  fc.assert(
    fc.property(fc.array(bitOf, { maxLength: 60 }), (changes) => {
      const { arena, board } = made();
      const model = new Set<number>();
      for (const [what, bit] of changes) {
        expect(board.lone.mask[what](bit)).toBe(model.has(bit));
        if (what === 'set') model.add(bit);
        else model.delete(bit);
      }
      const { mask } = board.lone;
      let value = 0n;
      for (const bit of model) value |= 1n << BigInt(bit);
      expect(BigInt(leafValue(arena, 'lone.mask') as string)).toBe(value);
      expect(mask.count()).toBe(model.size);
      expect(mask.any()).toBe(model.size > 0);
      expect(mask.highest()).toBe(Math.max(-1, ...model));
      for (let bit = 0; bit < mask.width; bit++) {
        expect(mask.has(bit)).toBe(model.has(bit));
        expect(leafValue(arena, `lone.mask[${bit}]`)).toBe(model.has(bit));
      }
    }),
    { seed: 3, numRuns: 50 },
  );
});

test('vector 0xff of a strided set is in the word at 0x70 and in no other', () => {
  const { arena, board } = made();
  board.lone.irr.set(0xff);
  const leaf = leafAt(layout, 'lone.irr')!;
  expect(arena.words[leaf.word + 0x70 / 4]).toBe(0x8000_0000);
  expect(board.lone.irr.highest()).toBe(0xff);
  expect(leafAt(layout, 'lone.irr[0xff]')!.word).toBe(leaf.word + 0x70 / 4);
});

test('clearing a whole set writes only the words that hold something', () => {
  const { arena, board } = made();
  board.lone.irr.set(0x31);
  arena.dropLog();
  board.lone.irr.clearAll();
  expect(arena.used).toBe(3);
  expect(board.lone.irr.any()).toBe(false);
});

test('bytes are little endian, one by one or four at a time', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(11), fc.nat(0xff)), { maxLength: 30 }), (stores) => {
      const { arena, board } = made();
      const model = new Uint8Array(12);
      for (const [offset, value] of stores) {
        board.lone.raw.setU8(offset, value);
        model[offset] = value;
      }
      expect(leafValue(arena, 'lone.raw')).toBe(Buffer.from(model).toString('hex'));
      const view = new DataView(model.buffer);
      for (let offset = 0; offset < 12; offset++) {
        expect(board.lone.raw.u8(offset)).toBe(model[offset]);
        if (offset % 4 !== 0) continue;
        expect(board.lone.raw.u32(offset)).toBe(view.getUint32(offset, true));
        expect(leafValue(arena, `lone.raw[${offset}]`)).toBe(view.getUint32(offset, true));
      }
    }),
    { seed: 4 },
  );
});

test('elements know their place, and records of one kind do not share state', () => {
  const { board } = made();
  board.device[0]!.plain = 5;
  expect(board.device.map(({ index, plain }) => [index, plain])).toEqual([
    [0, 5],
    [1, 0],
  ]);
});
