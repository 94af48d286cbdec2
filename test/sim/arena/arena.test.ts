// The buffer and its log: storing, stepping back and forth, growing.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena, LOG_STRIDE } from '#sim/arena/arena.ts';

const words = 16;

/** Steps of writes; a step may write a word twice, or nothing. */
const stepsOfWrites = fc.array(
  fc.array(fc.tuple(fc.nat(words - 1), fc.nat(0xffff_ffff)), { maxLength: 6 }),
  { maxLength: 30 },
);

const take = (arena: Arena, writes: readonly (readonly [number, number])[]): void => {
  for (const [word, value] of writes) arena.store(word, value);
  arena.closeStep();
};

test('a stored word is read back, and the log holds word, old and new value', () => {
  const arena = new Arena(words);
  arena.store(3, 7);
  arena.store(3, 0xffff_ffff);
  arena.closeStep();
  expect(arena.load(3)).toBe(0xffff_ffff);
  expect([...arena.writes.subarray(0, arena.used)]).toEqual([3, 0, 7, 3, 7, 0xffff_ffff]);
  expect(arena.position).toBe(1);
});

test('undo to any position gives the state there, and redo the state after it', () => {
  fc.assert(
    fc.property(stepsOfWrites, (steps) => {
      const arena = new Arena(words);
      const states = [arena.words.slice()];
      for (const writes of steps) {
        take(arena, writes);
        states.push(arena.words.slice());
      }
      for (let p = steps.length - 1; p >= 0; p--) {
        arena.undo();
        expect(arena.words).toEqual(states[p]);
        expect(arena.position).toBe(p);
      }
      for (let p = 1; p <= steps.length; p++) {
        arena.redo();
        expect(arena.words).toEqual(states[p]);
      }
    }),
    { seed: 1 },
  );
});

test('a store after undo takes another way, and the old one is gone', () => {
  const arena = new Arena(words);
  take(arena, [[0, 1]]);
  take(arena, [[0, 2]]);
  arena.undo();
  take(arena, [[0, 9]]);
  expect(arena.load(0)).toBe(9);
  arena.undo();
  arena.undo();
  arena.redo();
  arena.redo();
  expect(arena.load(0)).toBe(9);
});

test('nothing is undone inside a step, before the first, or behind a dropped log', () => {
  const arena = new Arena(words);
  expect(() => arena.undo()).toThrow('no step is kept');
  take(arena, [[0, 1]]);
  arena.store(0, 2);
  expect(() => arena.undo()).toThrow('inside a step');
  arena.closeStep();
  arena.dropLog();
  expect(() => arena.undo()).toThrow('no step is kept');
  expect({ position: arena.position, firstKept: arena.firstKept }).toEqual({
    position: 2,
    firstKept: 2,
  });
});

test('redo needs a step that was undone', () => {
  const arena = new Arena(words);
  expect(() => arena.redo()).toThrow('no step was taken back');
});

test('what was undone cannot be redone once another step was taken', () => {
  const arena = new Arena(words);
  take(arena, [[0, 1]]);
  take(arena, [[1, 2]]);
  arena.undo();
  arena.undo();
  take(arena, [[0, 9]]);
  expect(() => arena.redo()).toThrow('no step was taken back');
});

test('the log grows as the run does, and keeps what it held', () => {
  const arena = new Arena(words);
  const steps = 20_000;
  for (let i = 0; i < steps; i++) {
    arena.store(i % words, i);
    arena.store((i + 1) % words, i);
    arena.closeStep();
  }
  expect(arena.used).toBe(steps * 2 * LOG_STRIDE);
  for (let i = 0; i < steps; i++) arena.undo();
  expect(arena.words).toEqual(new Uint32Array(words));
  for (let i = 0; i < steps; i++) arena.redo();
  expect(arena.words[(steps - 1) % words]).toBe(steps - 1);
});

test('reads are logged only where asked, and only those of the current step', () => {
  const arena = new Arena(words);
  arena.load(1);
  expect(arena.readsUsed).toBe(0);
  arena.readsLogged = true;
  for (let i = 0; i < 5000; i++) arena.load(i % words);
  expect(arena.readsUsed).toBe(5000);
  expect([...arena.reads.subarray(0, 3)]).toEqual([0, 1, 2]);
  arena.closeStep();
  expect(arena.readsUsed).toBe(0);
});
