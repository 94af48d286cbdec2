import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from '#sim/arena/arena.ts';
import { decodeWindow, entryAt, move, stateAt, type Window } from '#sim/arena/window.ts';
import { WindowEncoder } from '#sim/arena/window_encoder.ts';

const wordCount = 50;
const value = fc.oneof(fc.nat(3), fc.integer({ min: 0, max: 0xffff_ffff }));
const write = fc.tuple(fc.nat(wordCount - 1), value);
const run = fc.record({
  boot: fc.array(value, { minLength: wordCount, maxLength: wordCount }),
  before: fc.array(write, { maxLength: 20 }),
  first: fc.nat(0xffff_0000),
  steps: fc.array(fc.record({ actor: fc.nat(255), writes: fc.array(write, { maxLength: 5 }) }), {
    maxLength: 60,
  }),
});
type Run = typeof run extends fc.Arbitrary<infer R> ? R : never;

/** Takes the steps in an arena; gives the encoded window and the state at each position. */
const taken = ({ boot, before, first, steps }: Run) => {
  const arena = new Arena(wordCount);
  arena.words.set(boot);
  for (const [word, to] of before) arena.store(word, to);
  arena.closeStep();
  const states = [arena.words.slice()];
  for (const { writes } of steps) {
    for (const [word, to] of writes) arena.store(word, to);
    arena.closeStep();
    states.push(arena.words.slice());
  }
  const encoder = new WindowEncoder(Uint32Array.from(boot));
  const source = {
    first,
    count: steps.length,
    keyframe: states[0]!,
    actors: Uint8Array.from(steps, (s) => s.actor),
    writes: arena.writes,
    ends: arena.ends,
    firstEnd: 1,
  };
  const encode = (): Uint8Array => encoder.encode(source).slice();
  return { arena, states, bytes: encode(), words: encoder.words.slice(), encode };
};

const walk = (window: Window, states: readonly Uint32Array[]): void => {
  const words = new Uint32Array(wordCount);
  for (const [k, state] of states.entries()) {
    stateAt(window, window.first + k, words);
    expect(words).toEqual(state);
  }
  for (let k = states.length - 1; k > 0; k--) {
    move(window, window.first + k, window.first + k - 1, words);
    expect(words).toEqual(states[k - 1]);
  }
};

test('a decoded window holds the steps that were encoded, forwards and backwards', () => {
  fc.assert(
    fc.property(run, (example) => {
      const { arena, states, bytes, words, encode } = taken(example);
      const window = decodeWindow(bytes, Uint32Array.from(example.boot));
      expect([window.first, window.count]).toEqual([example.first, example.steps.length]);
      expect([...window.actors]).toEqual(example.steps.map((s) => s.actor));
      expect(window.writes).toEqual(arena.writes.slice(arena.ends[0], arena.used));
      expect(entryAt(window, window.first + window.count)).toBe(window.writes.length);
      const written = example.steps.flatMap((s) => s.writes.map(([word]) => word));
      expect([...words]).toEqual([...new Set(written)].sort((a, b) => a - b));
      walk(window, states);
      expect(encode()).toEqual(bytes);
    }),
  );
});

test('bytes that were changed, cut off or added are an error or another whole window', () => {
  const damage = fc.record({ at: fc.nat(), xor: fc.integer({ min: 1, max: 255 }) });
  fc.assert(
    fc.property(run, fc.array(damage, { maxLength: 4 }), fc.nat(), (example, damages, cut) => {
      const { bytes } = taken(example);
      const boot = Uint32Array.from(example.boot);
      for (const { at, xor } of damages) bytes[at % bytes.length]! ^= xor;
      const part = bytes.subarray(0, bytes.length - (cut % 3 === 0 ? cut % bytes.length : 0));
      let window: Window;
      try {
        window = decodeWindow(part, boot);
      } catch (error) {
        expect(String(error)).toMatch(/^Error: a window of the recording is damaged: /);
        return;
      }
      expect(window.actors.length).toBe(window.count);
      stateAt(window, window.first + window.count, new Uint32Array(wordCount));
    }),
    { numRuns: 2000 },
  );
});

test('a window cut off anywhere, or followed by a byte, is an error', () => {
  const steps = [{ actor: 1, writes: [[3, 0x9000_0000] as [number, number]] }];
  const { bytes } = taken({
    boot: Array(wordCount).fill(1),
    before: [[4, 5]],
    first: 70_000,
    steps,
  });
  const boot = new Uint32Array(wordCount).fill(1);
  for (let length = 0; length < bytes.length; length++) {
    expect(() => decodeWindow(bytes.subarray(0, length), boot)).toThrow(/damaged/);
  }
  expect(() => decodeWindow(Uint8Array.of(...bytes, 0), boot)).toThrow(/1 bytes follow its end/);
});

test('a window that claims much allocates little', () => {
  const boot = new Uint32Array(wordCount);
  const many = [0xff, 0xff, 0xff, 0xff, 0x0f];
  const claims = [
    [1, 0, 1, wordCount, ...many],
    [1, 0, ...many],
    [1, ...many],
    [1, 0, 1, ...many],
    [1, 0, 1, wordCount, 0, 0, ...many],
    [1, 0, 1, wordCount, 0, 0, 1, ...many],
    [1, 0, 1, wordCount, 0, 0, 1, 1, ...many],
    [1, 0, 1, wordCount, 0, 0, 1, 1, 3, 1, 0],
  ];
  for (const claim of claims) {
    expect(() => decodeWindow(Uint8Array.from(claim), boot)).toThrow(/damaged/);
  }
});

test('positions outside of a window are refused', () => {
  const { bytes } = taken({ boot: Array(wordCount).fill(0), before: [], first: 10, steps: [] });
  const window = decodeWindow(bytes, new Uint32Array(wordCount));
  const words = new Uint32Array(wordCount);
  expect(() => stateAt(window, 9, words)).toThrow(/positions 10 to 10/);
  expect(() => stateAt(window, 11, words)).toThrow(/positions 10 to 10/);
});
