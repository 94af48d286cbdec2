// What a bundled scenario says of itself: for the list of the command line, the library of the
// window and the documents.

import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { profileOf } from '#sim/state/switches.ts';
import type { LibraryEntry } from '../preload/api.ts';
import { expectText, violatedBy } from './expectation_text.ts';

/** A scenario with faults has an entry too: the window shows the faults in its text. */
export function libraryEntry(
  { name, text }: { readonly name: string; readonly text: string },
  scenario: CompiledScenario | undefined,
): LibraryEntry {
  const expectations = scenario?.expectations ?? [];
  return {
    id: name,
    title: scenario?.title ?? name,
    about: scenario?.about ?? '',
    profile: scenario?.profile ?? '',
    race: scenario?.race,
    twin: scenario?.twin,
    role: scenario === undefined ? 'none' : roleOf(scenario),
    set: scenario === undefined ? {} : settingsOf(scenario),
    expect: expectText(expectations),
    violated: violatedBy(expectations),
    text,
  };
}

/** A race that is told without twins, and in which nothing breaks, is benign. */
const roleOf = ({ race, twin, expectations }: CompiledScenario): LibraryEntry['role'] =>
  twin ?? (race !== undefined && violatedBy(expectations).length === 0 ? 'benign' : 'none');

/** The switches that are not as the profile presets them. */
function settingsOf({ profile, switches }: CompiledScenario): Readonly<Record<string, string>> {
  const preset: Readonly<Record<string, string>> = profileOf(profile)?.switches ?? {};
  return Object.fromEntries(Object.entries(switches).filter(([id, value]) => preset[id] !== value));
}
