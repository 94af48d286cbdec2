// docs/races.md: which race breaks which invariant, and which switch guards it, as declared.

import { checks } from '../../main/sim/checks/index.ts';
import { type RaceRow, raceRows } from '../../main/sim/races.ts';
import { profiles, switches } from '../../main/sim/state/switches.ts';
import type { LibraryEntry } from '../../preload/api.ts';

const code = (text: string): string => `\`${text}\``;
const codes = (texts: readonly string[]): string => texts.map(code).join(' ');

/** A cell keeps no bar and no line break of its text. */
const cell = (text: string): string =>
  text === '' ? '–' : text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|');

const tableOf = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  [header, header.map(() => '---'), ...rows.map((row) => row.map(cell))]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');

const settingsText = ({ set }: LibraryEntry): string =>
  Object.entries(set)
    .map(([id, value]) => ` ${code(`${id} ${value}`)}`)
    .join('');

const twinsOf = ({ entries }: RaceRow<LibraryEntry>, role: LibraryEntry['role']): string =>
  entries
    .filter((entry) => entry.role === role)
    .map((entry) => `${entry.id} (${entry.profile}${settingsText(entry)})`)
    .join(', ');

const raceCells = (row: RaceRow<LibraryEntry>): string[] => [
  row.id,
  row.title,
  twinsOf(row, 'buggy'),
  twinsOf(row, 'fixed'),
  [twinsOf(row, 'benign'), twinsOf(row, 'none')].filter((text) => text !== '').join(', '),
  codes(row.breaks),
  codes(row.follows),
  codes(row.switches),
];

const racesText = (rows: readonly RaceRow<LibraryEntry>[]): string => {
  const told = rows.filter(({ entries }) => entries.length > 0);
  const header = ['race', 'title', 'buggy twins', 'fixed twins', 'others', 'breaks', 'and then'];
  const untold = rows.filter(({ entries }) => entries.length === 0);
  const left = untold.map(({ id }) => id).join(' ');
  return [
    tableOf([...header, 'switches'], told.map(raceCells)),
    ...(untold.length === 0 ? [] : [`\nNamed by a declaration, without a scenario: ${left}.`]),
  ].join('\n');
};

const switchesText = (): string => {
  const rows = switches.map(({ id, races, summary }) => [
    code(id),
    races.join(' '),
    ...profiles.map(({ switches: preset }) => preset[id]),
    summary,
  ]);
  const header = ['switch', 'races', ...profiles.map(({ id }) => id), 'what it is'];
  return tableOf(header, rows);
};

const moments = {
  step: 'after every step',
  entry: 'at VM entry',
  exit: 'at VM exit',
  quiet: 'once nobody can move',
} as const;

const invariantsText = (entries: readonly LibraryEntry[]): string =>
  tableOf(
    ['invariant', 'when', 'what holds', 'races', 'broken by'],
    checks.map(({ id, when, summary, races }) => [
      code(id),
      moments[when],
      summary,
      races.join(' '),
      entries
        .filter(({ violated }) => violated.includes(id))
        .map((entry) => entry.id)
        .join(' '),
    ]),
  );

export const racesDocument = (entries: readonly LibraryEntry[]): string => `# Races

Made from the declarations by \`npm run docs\`: scenarios carry a race, invariants and switches name
races. *Breaks* are invariants that name the race, *and then* are others that its scenarios break.
In brackets stand the profile of a scenario and the switches that it sets. The stories are in the
scenarios; the panel *Races* of the window shows all of this too.

## Races

${racesText(raceRows(entries))}

## Switches

The races that a switch is about, and its value in each profile.

${switchesText()}

## Invariants

${invariantsText(entries)}
`;
