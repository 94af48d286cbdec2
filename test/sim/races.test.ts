// Races, invariants and switches name each other: what they say fits together.

import { expect, test } from 'vitest';
import { checks } from '#sim/checks/index.ts';
import { isRace, raceRows } from '#sim/races.ts';
import { switches, switchOf } from '#sim/state/switches.ts';
import { Library } from '../../main/bundled.ts';
import { compiled } from '../../main/compiled.ts';
import { libraryEntry } from '../../main/library_entry.ts';
import { libraryFolder } from '../../main/library_folder.ts';

const scenarios = new Library(libraryFolder)
  .all()
  .map((source) => ({ ...libraryEntry(source, compiled(source)), compiled: compiled(source) }));
const buggy = scenarios.filter(({ role }) => role === 'buggy');
const rows = raceRows(scenarios);

test('a race is R01 to R88, without the two numbers that the catalogue leaves out', () => {
  const all = Array.from({ length: 100 }, (_, i) => `R${String(i).padStart(2, '0')}`);
  expect(all.filter(isRace)).toHaveLength(86);
  expect(['R00', 'R19', 'R69', 'R89', 'R1', 'r01', 'R010'].filter(isRace)).toEqual([]);
});

test('invariants, switches and scenarios name races that exist', () => {
  const named = [...checks, ...switches].flatMap(({ id, races }) =>
    races.map((race) => ({ id, race })),
  );
  const carried = scenarios.flatMap(({ id, race }) => (race === undefined ? [] : [{ id, race }]));
  expect([...named, ...carried].filter(({ race }) => !isRace(race))).toEqual([]);
});

test('a scenario is named after the race that it carries', () => {
  const misnamed = scenarios.filter(({ id, race, title }) => {
    const [name, first] = [/^R\d\d/.exec(id)?.[0], /^R\d\d(?=:)/.exec(title)?.[0]];
    return name !== race || (race !== undefined && first !== race);
  });
  expect(misnamed.map(({ id }) => id)).toEqual([]);
});

/**
 * Races whose buggy twins break invariants that do not name them, with the reason. The catalogue
 * of invariants says which races break one; what a race leads to may be another one's business.
 */
const unnamed: Readonly<Record<string, string>> = {
  R02: 'the catalogue calls it latent and names no invariant: the reload is lost, as in R15',
  R13: 'the catalogue names no invariant: the notification is overlooked, as in R20',
  R16: 'the catalogue means a waiter that sees the store early, which x86 cannot do; late it is R12',
  R45: 'the catalogue knows a WARN only: the twins count it',
  R49: 'the catalogue names no invariant: the vCPU sleeps with an interrupt, as in R26',
  R53: 'no invariant speaks of TPR_THRESHOLD: what could be delivered is not',
  R63: 'nothing is lost: posted interrupts of L2 are off for one entry',
  R66: 'which of the two keeps a vector is a matter of taste: the twins say who gets it',
};

test('every buggy twin breaks an invariant that names its race, or it is listed why not', () => {
  const broken = buggy.filter(({ race = '', violated }) => {
    const named = checks.filter(({ races }) => races.includes(race)).map(({ id }) => id);
    return !violated.some((id) => named.includes(id));
  });
  expect([...new Set(broken.map(({ race }) => race))]).toEqual(Object.keys(unnamed));
});

/** Switches that twins set beside the protection of their race, with the reason. */
const beside: Readonly<Record<string, string>> = {
  'empty-pir-scans-irr': 'the profile lacks it, and loses RVI before the race is seen',
  'get-pages-before-block':
    'no kernel looks up the pages of a restored L2 that is halted, and R39 would be seen for it',
  'gpc-nosleep-in-block': 'R80 is open in the same kernel, and would be seen as well',
  'gpc-rewrite-on-refresh': 'R78 is open in the same kernel, and would be seen instead of R79',
  'gpc-unlock-before-refresh': 'R79 is open in the same kernel, and would be seen as well',
  'ioapic-scan-before-service':
    'in no kernel does a route that is written while its line is up scan in time',
  'nested-nv-redeliver': 'R38 is open in every kernel, and would be seen as well',
  'svi-on-activation': 'the profile lacks it (R50), and would end otherwise',
};

test('what a buggy twin sets is a protection of its race, or it is listed why not', () => {
  const others = buggy.flatMap(({ race = '', set }) =>
    Object.keys(set).filter((id) => switchOf(id)?.races.includes(race) !== true),
  );
  expect([...new Set(others)].sort()).toEqual(Object.keys(beside).sort());
});

test('what fixed twins do otherwise than the buggy ones is a protection of their race', () => {
  const pairs = buggy.flatMap((one) => {
    const other = scenarios.find(({ id }) => id === one.id.replace(/-buggy$/, '-fixed'));
    return other === undefined ? [] : [{ one, other }];
  });
  expect(pairs.length).toBeGreaterThan(30);
  const unguarded = pairs.filter(({ one, other }) => {
    const guards = switches.filter(({ races }: { races: readonly string[] }) =>
      races.includes(one.race ?? ''),
    );
    return guards.every(({ id }) => one.compiled.switches[id] === other.compiled.switches[id]);
  });
  expect(unguarded.map(({ one }) => one.id)).toEqual([]);
});

test('a row has the scenarios of a race, what they break, and who names it', () => {
  expect(rows.find(({ id }) => id === 'R15')).toMatchObject({
    entries: [{ id: 'R15-k6.6-buggy' }, { id: 'R15-k6.6-fixed' }],
    title: 'a request cleared after its handler is lost',
    breaks: ['inv-req-not-lost'],
    follows: ['inv-apic-access-hpa'],
    named: [],
    switches: ['req-clear-before-handle'],
  });
  expect(rows.map(({ id }) => id)).toEqual(rows.map(({ id }) => id).toSorted());
});

/** Benign races that no switch is about: nothing protects from them, nothing has to. */
const unprotected = ['R40', 'R43', 'R54', 'R57'];

test('each scenario of a race tells its story, and names the protection or the patch', () => {
  const stories = scenarios.filter(({ race }) => race !== undefined);
  const wrong = stories.filter(({ race = '', compiled: { about } }) => {
    const lines = about.split('\n').filter((line) => line.trim() !== '').length;
    const source = /Protection:|\b[0-9a-f]{12,14}\b|Mended by/.test(about);
    const told = lines >= 5 && lines <= 16 && /^\s*1\. /m.test(about);
    return !told || !(source || unprotected.includes(race));
  });
  expect(wrong.map(({ id }) => id)).toEqual([]);
});

test('every race of the catalogue has a scenario, and one that is not benign has both twins', () => {
  const races = [...new Set(scenarios.map(({ race }) => race))];
  expect(races.filter((race) => race !== undefined)).toHaveLength(86);
  const rolesOf = (race: string): (string | undefined)[] =>
    scenarios.filter((one) => one.race === race).map(({ role }) => role);
  const lone = races.filter((race = '') => {
    const roles = rolesOf(race);
    return race !== '' && roles.includes('buggy') !== roles.includes('fixed');
  });
  expect(lone).toEqual([]);
});
