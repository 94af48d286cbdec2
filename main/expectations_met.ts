// Compares what a run came to with what its scenario expects.

import type { BreakPlace, Expectation } from '#sim/scenario/compile/expectations.ts';
import type { NamedFinding } from './checked_run.ts';
import { expectationText } from './expectation_text.ts';

export interface Unmet {
  readonly expected: string;
  readonly got: string;
}

/** What a run came to. */
interface End {
  readonly findings: readonly NamedFinding[];
  readonly halted: string | undefined;
  readonly words: Uint32Array;
}

/**
 * What was expected and did not come, and what broke although nothing was expected to. Where one
 * violation is expected, others may follow from it: those are not told.
 */
export function unmet(
  expectations: readonly Expectation[],
  { findings, halted, words }: End,
): Unmet[] {
  const mayBreak = expectations.some(({ kind }) => kind === 'violated');
  const unexpected = mayBreak
    ? []
    : findings.map((one) => ({ expected: `no violation of ${one.check}`, got: told(one) }));
  const end = { findings, halted, words };
  return [...expectations.flatMap((one) => unmetOf(one, end) ?? []), ...unexpected];
}

function unmetOf(expectation: Expectation, { findings, halted, words }: End): Unmet | undefined {
  switch (expectation.kind) {
    // Each finding that is not expected is told for itself.
    case 'clean':
      return undefined;
    case 'violated': {
      const { check, at } = expectation;
      const broken = findings.filter((finding) => finding.check === check);
      if (broken.some((finding) => isAt(finding, at))) return undefined;
      const got = broken.length === 0 ? 'it held' : broken.map(told).join('; ');
      return { expected: expectationText(expectation), got };
    }
    case 'ends':
      if (halted === expectation.halt) return undefined;
      return { expected: expectationText(expectation), got: `it ended: ${halted}` };
    case 'final': {
      const { expression } = expectation;
      if (expression.test(words)) return undefined;
      return {
        expected: expectationText(expectation),
        got: `it is ${String(expression.value(words))}`,
      };
    }
  }
}

const isAt = (finding: NamedFinding, at: BreakPlace | undefined): boolean =>
  at === undefined ||
  (finding.function === at.function &&
    (at.label === undefined || finding.label.includes(at.label)));

const told = ({ check, position, function: name, label, message }: NamedFinding): string =>
  `${check} broke at position ${position}, ${name} "${label}": ${message}`;
