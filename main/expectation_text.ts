// What a scenario expects, in the words of the contract.

import type { Expectation } from '#sim/scenario/compile/expectations.ts';

/** `clean`, or `violated: ` and the invariants. */
export function expectText(expectations: readonly Expectation[]): string {
  const violated = expectations.flatMap((one) => (one.kind === 'violated' ? [one.check] : []));
  return violated.length === 0 ? 'clean' : `violated: ${[...new Set(violated)].join(', ')}`;
}
