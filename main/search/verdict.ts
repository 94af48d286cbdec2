// What the tally of a search says about a scenario, by what the scenario expects of itself.

import type { Expectation } from '#sim/scenario/compile/expectations.ts';
import { violatedBy } from '../expectation_text.ts';
import type { Tally } from './tally.ts';

export const verdicts = {
  clean: 'nothing is expected to break, and nothing did',
  breaks: 'nothing is expected to break, but something did, or a run did not come to rest',
  found: 'an invariant that is expected to break did',
  missed: 'an invariant is expected to break, and none of those did',
} as const;
export type Verdict = keyof typeof verdicts;

export function verdictOf(expectations: readonly Expectation[], tally: Tally): Verdict {
  const wanted = violatedBy(expectations);
  if (wanted.length > 0) return wanted.some((id) => id in tally.invariants) ? 'found' : 'missed';
  const ends = ['quiet', ...expectations.flatMap((e) => (e.kind === 'ends' ? [e.halt] : []))];
  const isAtRest = Object.keys(tally.halts).every((halt) => ends.includes(halt));
  return tally.broken === undefined && isAtRest ? 'clean' : 'breaks';
}
