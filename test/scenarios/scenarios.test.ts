// Every scenario, bundled or for tests only, comes to what it says about itself.

import { expect, test, vi } from 'vitest';
import { switchOf } from '#sim/state/switches.ts';
import { unmet } from '../../main/expectations_met.ts';
import { compileLibrary, libraryIds, runLibrary, testScenarioIds } from '../sim/scenario_run.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const ids = [...libraryIds, ...testScenarioIds];

test.each(ids)('%s comes to what it expects', (id) => {
  const { scenario, run, findings, machine } = runLibrary(id);
  const { words } = machine.arena;
  expect(unmet(scenario.expectations, { findings, halted: run.halt, words })).toEqual([]);
  const saysEnd = scenario.expectations.some(({ kind }) => kind === 'ends');
  if (!saysEnd) expect(run.halt).toBe('quiet');
  expect(scenario.expectations.length).toBeGreaterThan(0);
});

test('a race and its twin are named in the file as in the text', () => {
  for (const id of libraryIds) {
    const { race, twin, profile, title, about } = compileLibrary(id);
    expect([id, title !== '' && about !== '']).toEqual([id, true]);
    if (race === undefined) continue;
    expect(id.startsWith(`${race}-${profile}`)).toBe(true);
    if (twin !== undefined) expect(id.endsWith(`-${twin}`)).toBe(true);
  }
});

test('the buggy twin differs from the fixed one in one switch, which names the race', () => {
  const buggy = libraryIds.filter((id) => id.endsWith('-buggy'));
  expect(buggy.length).toBeGreaterThan(4);
  for (const id of buggy) {
    const [bad, good] = [compileLibrary(id), compileLibrary(id.replace('-buggy', '-fixed'))];
    const different = Object.keys(bad.switches).filter((s) => bad.switches[s] !== good.switches[s]);
    expect([id, different.length]).toEqual([id, 1]);
    expect([id, switchOf(different[0]!)?.races]).toEqual([id, expect.arrayContaining([bad.race])]);
  }
});

test('each line of a schedule gets where it wants', () => {
  const short = libraryIds.flatMap((id) =>
    runLibrary(id)
      .unreached()
      .map((line) => `${id}: ${line}`),
  );
  expect(short).toEqual([]);
});
