// What the panel of races derives from scenarios, invariants and switches.

import { expect, test } from 'vitest';
import { libraryEntry } from '../../main/library_entry.ts';
import { raceRows, twinName } from '../../main/sim/races.ts';
import { compileScenario } from '../../main/sim/scenario/compile.ts';
import { brokenBy, guardsOf, rowsWith, storyOf, toldBy } from '../../renderer/races/rows.ts';
import { useFocus } from '../../renderer/stores/focus.ts';
import { libraryText, newSession } from './session.ts';

const entryOf = (id: string) => {
  const text = libraryText(id);
  return libraryEntry({ name: id, text }, compileScenario(text).scenario);
};
const ids = ['R01-k4.15-buggy', 'R01-k4.15-fixed', 'R10-k6.6-buggy', 'R10-k6.6-fixed'];
const rows = raceRows(ids.map(entryOf));
const rowOf = (id: string) => rows.find((row) => row.id === id)!;

test('races without a scenario are listed as well, by what names them', () => {
  expect(rows.length).toBeGreaterThan(70);
  expect(toldBy(rowOf('R03'))).toBeUndefined();
  expect(rowOf('R03').switches).toEqual(['zap-flush-all-roots']);
  expect(brokenBy(rowOf('R03')).map(({ check, how }) => `${check.id} ${how}`)).toContain(
    'inv-no-stale-tlb may break',
  );
});

test('a filter finds races by number, words of the story, invariant and switch', () => {
  const found = (filter: string): string[] => rowsWith(rows, filter).map(({ id }) => id);
  expect(found('')).toEqual(rows.map(({ id }) => id));
  expect(found('r10')).toEqual(['R10']);
  expect(found('APIC-reload-retry')).toEqual(['R01']);
  expect(found('dying PAGE')).toEqual(['R01']);
  expect(found('inv-entry-no-requests final')).toEqual(['R10']);
  expect(found('no such word')).toEqual([]);
  const named = entryOf('R78-gpc-v1-buggy');
  const telling = entryOf('R75-gpc-v1-buggy');
  expect(telling.about).toContain('R78');
  expect(rowsWith(raceRows([named, telling]), 'r78')[0]?.id).toBe('R78');
});

test('what breaks comes before what follows from it', () => {
  const told = brokenBy(rowOf('R10')).map(({ check, how }) => [how, check.id]);
  expect(told).toEqual([
    ['breaks', 'inv-entry-no-requests'],
    ['follows', 'inv-apic-access-hpa'],
    ['may break', 'inv-mode-foreign-write'],
  ]);
});

test('a protection is told with its value in the scenario, and whether that sets it', () => {
  const value = ({ guard, value, isSet }: ReturnType<typeof guardsOf>[number]) => [
    guard.id,
    value,
    isSet,
  ];
  expect(guardsOf(rowOf('R10'), entryOf('R10-k6.6-buggy')).map(value)).toEqual([
    ['final-request-check', 'off', true],
    ['kick-mode-cmpxchg', 'on', false],
  ]);
  expect(guardsOf(rowOf('R01'), entryOf('R01-k4.15-buggy')).map(value)).toEqual([
    ['apic-reload-hook', 'range_start', false],
    ['apic-reload-retry', 'off', false],
  ]);
  expect(guardsOf(rowOf('R03'), undefined).map(({ value }) => value)).toEqual(['']);
});

test('a story is told in parts, numbered as it was written', () => {
  const story = storyOf(
    'What\n  it is.\n\n  1. mm does\n     this.\n  2. vcpu0 that.\n\nMended by x.',
  );
  expect(story).toEqual([
    { number: '', text: 'What it is.' },
    { number: '1.', text: 'mm does this.' },
    { number: '2.', text: 'vcpu0 that.' },
    { number: '', text: 'Mended by x.' },
  ]);
  expect(storyOf('')).toEqual([]);
  const parts = storyOf(entryOf('R01-k4.15-buggy').about);
  expect(parts.map(({ number }) => number).filter(Boolean)).toEqual(
    Array.from({ length: 7 }, (_, i) => `${i + 1}.`),
  );
});

test('nobody has asked for the filter before the command does', () => {
  newSession();
  expect(useFocus().racesWanted).toBe(false);
});

test('a twin has a name of its own where a profile has more than one', () => {
  expect(twinName(entryOf('R10-k6.6-buggy'))).toBe('buggy');
  expect(twinName(entryOf('R25-k7.0-hot-plug-fixed'))).toBe('fixed, hot-plug');
});
