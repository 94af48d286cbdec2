// What a scenario expects, in the words of the contract.

import type { BreakPlace, Expectation } from '#sim/scenario/compile/expectations.ts';

/** The invariants that are expected to break. */
export const violatedBy = (expectations: readonly Expectation[]): string[] => [
  ...new Set(expectations.flatMap((one) => (one.kind === 'violated' ? [one.check] : []))),
];

/** `clean`, or `violated: ` and the invariants. */
export function expectText(expectations: readonly Expectation[]): string {
  const violated = violatedBy(expectations);
  return violated.length === 0 ? 'clean' : `violated: ${violated.join(', ')}`;
}

/** One of them, as the scenario says it. */
export function expectationText(expectation: Expectation): string {
  switch (expectation.kind) {
    case 'clean':
      return 'clean';
    case 'violated':
      return `violated ${expectation.check}${placeText(expectation.at)}`;
    case 'ends':
      return `ends ${expectation.halt}`;
    case 'final':
      return `final ${expectation.text}`;
  }
}

const placeText = (at: BreakPlace | undefined): string => {
  if (at === undefined) return '';
  return ` at ${at.function}${at.label === undefined ? '' : ` "${at.label}"`}`;
};
