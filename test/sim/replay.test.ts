// What is always true of a run: it can be repeated to the byte, taken back, and looked at.

import { expect, test, vi } from 'vitest';
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { boot } from '#sim/boot.ts';
import {
  compileLibrary,
  libraryIds,
  logOf,
  type RunOfTest,
  runScenario,
  runText,
  scenarioText,
  testScenarioIds,
} from './scenario_run.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const ids = [...libraryIds, ...testScenarioIds];

const expectSame = (a: RunOfTest, b: RunOfTest): void => {
  const [left, right] = [logOf(a), logOf(b)];
  // Typed arrays are compared as bytes: an element-wise comparison of 10⁵ words is slow.
  expect(Buffer.from(left.ends.buffer).equals(Buffer.from(right.ends.buffer))).toBe(true);
  expect(Buffer.from(left.writes.buffer).equals(Buffer.from(right.writes.buffer))).toBe(true);
  expect(a.run.halt).toBe(b.run.halt);
};

test.each(ids)('%s is repeated to the byte from its own choices', (id) => {
  const scenario = compileLibrary(id);
  const first = runScenario(scenario);
  const again = runScenario(scenario, { schedule: first.run.choicesText() });
  // The choices end where the run ended: nobody is left to ask.
  expect(again.run.choicesText()).toBe(first.run.choicesText());
  expectSame(first, again);
  expect(again.findings).toEqual(first.findings);
});

test.each(ids)('%s taken back is the boot image, and done again is its end', (id) => {
  const { machine, scenario } = runScenario(compileLibrary(id));
  const { arena } = machine;
  const end = arena.words.slice();
  const steps = arena.position;
  while (arena.position > 0) arena.undo();
  expect(Buffer.from(arena.words).equals(Buffer.from(boot(scenario.config).arena.words))).toBe(
    true,
  );
  while (arena.position < steps) arena.redo();
  expect(arena.words).toEqual(end);
});

test.each(ids)('%s: a copy of the arena and the writes after it give each later copy', (id) => {
  const copies: { readonly at: number; readonly words: Uint32Array }[] = [];
  const { machine } = runScenario(compileLibrary(id), {
    watchers: [
      {
        stepClosed: ({ arena }) => {
          if (arena.position % 50 === 0)
            copies.push({ at: arena.position, words: arena.words.slice() });
        },
      },
    ],
  });
  const { arena } = machine;
  for (const [i, { at, words }] of copies.entries()) {
    const next = copies[i + 1];
    if (next === undefined) break;
    const state = words.slice();
    for (let e = arena.startOf(at); e < arena.startOf(next.at); e += LOG_STRIDE) {
      expect(state[arena.writes[e]!]).toBe(arena.writes[e + 1]);
      state[arena.writes[e]!] = arena.writes[e + 2]!;
    }
    expect(Buffer.compare(bytesOf(state), bytesOf(next.words))).toBe(0);
  }
});

const bytesOf = (words: Uint32Array): Buffer =>
  Buffer.from(words.buffer, words.byteOffset, words.byteLength);

test('logging what is read changes nothing', () => {
  for (const id of ids) {
    const scenario = compileLibrary(id);
    const logged = runScenario(scenario, {
      watchers: [
        {
          stepClosed: ({ arena }) => {
            arena.readsLogged = true;
          },
        },
      ],
    });
    expectSame(runScenario(scenario), logged);
  }
});

test('a run does not depend on which runs came before it', () => {
  const small = ids.filter((id) => !id.startsWith('busy'));
  const forwards = small.map((id) => runScenario(compileLibrary(id)));
  const backwards = [...small].reverse().map((id) => runScenario(compileLibrary(id), { seed: 5 }));
  expect(backwards.length).toBe(forwards.length);
  for (const [i, id] of small.entries()) {
    expectSame(runScenario(compileLibrary(id)), forwards[i]!);
  }
});

test('a run that was cut short is the beginning of the whole', () => {
  const text = scenarioText('busy-4-vcpus');
  const whole = runText(text, { seed: 11 });
  const part = runText(text, { seed: 11, stepsMax: 300 });
  expect(part.run.halt).toBe('steps-max');
  const { writes, ends } = logOf(part);
  const { writes: all, ends: allEnds } = logOf(whole);
  expect(bytesOf(all.slice(0, writes.length)).equals(bytesOf(writes))).toBe(true);
  expect(bytesOf(allEnds.slice(0, 300)).equals(bytesOf(ends))).toBe(true);
});

test('the seed decides the run, and another seed decides another', () => {
  const scenario = compileLibrary('busy-4-vcpus');
  const [a, b, c] = [3, 3, 4].map((seed) => runScenario(scenario, { seed }));
  expectSame(a!, b!);
  expect(c!.run.choicesText()).not.toBe(a!.run.choicesText());
});
