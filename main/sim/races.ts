/**
 * The races of the catalogue as the declarations tell them: scenarios carry one, invariants and
 * switches name them. Documents, help and tests are made from these rows.
 */
import { checks } from './checks/index.ts';
import { switches } from './state/switches.ts';

/** What a scenario says of itself. */
export interface RaceScenario {
  readonly id: string;
  readonly title: string;
  readonly race: string | undefined;
  readonly twin: 'buggy' | 'fixed' | undefined;
}

/** A race with its twins and what else is told of it. */
export interface Race<S extends RaceScenario> {
  readonly id: string;
  /** of its first scenario; '' if there is none */
  readonly title: string;
  readonly entries: readonly S[];
}

/** The title without the name of the race, which stands beside it already. */
export const shortTitle = (title: string): string => title.replace(/^R\d+: /, '');

/** Which twin it is, with the word that its id has for what is special: `buggy, hot-plug`. */
export const twinName = ({
  id,
  twin,
  profile,
}: {
  readonly id: string;
  readonly twin?: string | undefined;
  readonly profile: string;
}): string | undefined => {
  const behind = id.split(`-${profile}-`)[1] ?? '';
  const special = behind.slice(0, -`-${twin}`.length);
  return special === '' ? twin : `${twin}, ${special}`;
};

/** The races that scenarios carry; twins stand together, the buggy one first. */
export const racesOf = <S extends RaceScenario>(scenarios: readonly S[]): Race<S>[] => {
  const races = new Map<string, S[]>();
  for (const one of scenarios) {
    if (one.race !== undefined) races.set(one.race, [...(races.get(one.race) ?? []), one]);
  }
  return [...races]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([id, found]) => {
      const entries = found.toSorted((a, b) => (a.twin ?? '~').localeCompare(b.twin ?? '~'));
      return { id, title: shortTitle(entries[0]?.title ?? ''), entries };
    });
};

/** What it expects to break, too. */
export interface ExpectingScenario extends RaceScenario {
  readonly violated: readonly string[];
}

export interface RaceRow<S extends RaceScenario> extends Race<S> {
  /** invariants that a scenario of the race breaks and that name the race */
  readonly breaks: readonly string[];
  /** other invariants that break with it */
  readonly follows: readonly string[];
  /** invariants that name the race and that none of its scenarios expects to break */
  readonly named: readonly string[];
  /** switches that name the race: its protections, or what opens it */
  readonly switches: readonly string[];
}

const lastRace = 88;
/** Numbers that the catalogue does not have. */
const gaps: readonly number[] = [19, 69];

export const isRace = (id: string): boolean => {
  const number = /^R(\d\d)$/.test(id) ? Number(id.slice(1)) : 0;
  return number >= 1 && number <= lastRace && !gaps.includes(number);
};

/** Every race that a scenario, an invariant or a switch names, in the order of the catalogue. */
export const raceRows = <S extends ExpectingScenario>(scenarios: readonly S[]): RaceRow<S>[] => {
  const told = new Map(racesOf(scenarios).map((race) => [race.id, race]));
  const ids = new Set([...told.keys(), ...[...checks, ...switches].flatMap(({ races }) => races)]);
  return [...ids].sort().map((id) => {
    const { title = '', entries = [] } = told.get(id) ?? {};
    const broken = [...new Set(entries.flatMap(({ violated }) => violated))];
    const named = checks.filter(({ races }) => races.includes(id)).map((check) => check.id);
    const guards: readonly { readonly id: string; readonly races: readonly string[] }[] = switches;
    return {
      id,
      title,
      entries,
      breaks: broken.filter((check) => named.includes(check)),
      follows: broken.filter((check) => !named.includes(check)),
      named: named.filter((check) => !broken.includes(check)),
      switches: guards.filter(({ races }) => races.includes(id)).map((one) => one.id),
    };
  });
};
