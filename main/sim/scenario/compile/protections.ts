/** Profile and switches: what the scenario says, and what the options say over it. */
import { defaultProfile, profileOf, profiles, switches, switchOf } from '../../state/switches.ts';
import { instead, problemNowhere, type Span } from '../diagnostics.ts';
import type { Section, Word } from '../parse/tree.ts';
import { isKnown, type Report } from './context.ts';

/** What `--profile` and `--set` say. */
export interface Overrides {
  readonly profile?: string | undefined;
  readonly switches?: Readonly<Record<string, string>> | undefined;
}

type ProfileSection = Extract<Section, { kind: 'profile' }>;
type SetSection = Extract<Section, { kind: 'set' }>;

const nowhere: Span = problemNowhere('');

/** A name that an option gives has no place in the text. */
const wordNowhere = (text: string): Word => ({ text, isNumber: false, ...nowhere });

interface Protections {
  readonly profile: string;
  readonly switches: Readonly<Record<string, string>>;
}

const setSwitch = (
  values: Map<string, string>,
  { id, value }: { id: Word; value: Word },
  report: Report,
): void => {
  if (
    !isKnown(
      id,
      'switch',
      switches.map((s) => s.id),
      report,
    )
  )
    return;
  const declared = switchOf(id.text)!;
  if (declared.values.includes(value.text)) values.set(id.text, value.text);
  else
    report(value, `"${id.text}" is not "${value.text}"; ${instead(value.text, declared.values)}`);
};

export const profileAndSwitches = (
  profile: ProfileSection | undefined,
  sets: readonly SetSection[],
  { overrides, report }: { overrides: Overrides; report: Report },
): Protections => {
  const names = profiles.map(({ id }) => id);
  const known = profile === undefined || isKnown(profile.profile, 'profile', names, report);
  const said = known ? profile?.profile.text : undefined;
  const wanted = overrides.profile;
  const allowed = wanted === undefined || isKnown(wordNowhere(wanted), 'profile', names, report);
  const chosen = (allowed ? wanted : undefined) ?? said ?? defaultProfile;
  const values = new Map<string, string>(Object.entries(profileOf(chosen)!.switches));
  const seen = new Set<string>();
  for (const set of sets) {
    if (seen.has(set.id.text)) report(set.id, `"${set.id.text}" is set twice; keep one`);
    seen.add(set.id.text);
    setSwitch(values, set, report);
  }
  for (const [id, value] of Object.entries(overrides.switches ?? {})) {
    setSwitch(values, { id: wordNowhere(id), value: wordNowhere(value) }, report);
  }
  return { profile: chosen, switches: Object.fromEntries(values) };
};
