// What the panel of races tells of each race: its story, what breaks, and what guards it.

import type { Check } from '../../main/sim/checks/check.ts';
import { checks } from '../../main/sim/checks/index.ts';
import type { RaceRow } from '../../main/sim/races.ts';
import { profileOf, type Switch, switchOf } from '../../main/sim/state/switches.ts';
import type { LibraryEntry } from '../../preload/api.ts';

export type Row = RaceRow<LibraryEntry>;

/**
 * The races in whose words, names and stories all words of the filter occur; one that the filter
 * names comes first.
 */
export const rowsWith = (rows: readonly Row[], filter: string): readonly Row[] => {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  const found = rows.filter((row) => {
    const text = wordsOf(row).toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const isNamed = ({ id }: Row): boolean => words.includes(id.toLowerCase());
  return [...found.filter(isNamed), ...found.filter((row) => !isNamed(row))];
};

const wordsOf = ({ id, title, entries, breaks, follows, named, switches }: Row): string =>
  [
    id,
    title,
    ...breaks,
    ...follows,
    ...named,
    ...switches,
    ...entries.flatMap((entry) => [entry.id, entry.profile, entry.title, entry.about]),
  ].join('\n');

export interface Broken {
  readonly check: Check;
  /** how the race and the invariant belong together */
  readonly how: string;
}

/** The invariants of a race: those that it breaks, those that follow, those that only name it. */
export const brokenBy = ({ breaks, follows, named }: Row): Broken[] => {
  const all = [
    ...breaks.map((id) => ({ id, how: 'breaks' })),
    ...follows.map((id) => ({ id, how: 'follows' })),
    ...named.map((id) => ({ id, how: 'may break' })),
  ];
  return all.flatMap(({ id, how }) => {
    const check = checks.find((one) => one.id === id);
    return check === undefined ? [] : [{ check, how }];
  });
};

export interface Guard {
  readonly guard: Switch;
  /** its value in the scenario, and whether the scenario sets it */
  readonly value: string;
  readonly isSet: boolean;
}

/** The protections of a race, as they are in one of its scenarios. */
export const guardsOf = ({ switches }: Row, entry: LibraryEntry | undefined): Guard[] => {
  const preset: Readonly<Record<string, string>> = profileOf(entry?.profile ?? '')?.switches ?? {};
  return switches.flatMap((id) => {
    const guard = switchOf(id);
    const own = entry?.set[id];
    return guard === undefined
      ? []
      : [{ guard, value: own ?? preset[id] ?? '', isSet: own !== undefined }];
  });
};

/** The scenario that is told first: the one in which the race goes wrong. */
export const toldBy = ({ entries }: Row): LibraryEntry | undefined => entries[0];

export interface StoryPart {
  /** `1.` … of a numbered sequence, or '' */
  readonly number: string;
  readonly text: string;
}

/** The parts of a story, each without the line breaks of the text that it was written in. */
export const storyOf = (about: string): StoryPart[] =>
  about
    .split(/\n\s*\n|\n(?=\s*\d+\. )/)
    .map((part) => /^\s*(\d+\.)?\s*([\s\S]*)$/.exec(part))
    .map((match) => ({
      number: match?.[1] ?? '',
      text: (match?.[2] ?? '').replaceAll(/\s+/g, ' ').trim(),
    }))
    .filter(({ text }) => text !== '');
