/** What a scenario says about its own run. */
import type { RecordType } from '../../arena/fields.ts';
import { halts } from '../../sched/run.ts';
import type { Problem, Span } from '../diagnostics.ts';
import { compileTree, type Expression } from '../expression.ts';
import type { Vocabulary } from '../language/vocabulary.ts';
import { type Section, spanOf } from '../parse/tree.ts';
import { isKnown, type Report } from './context.ts';

/** Where a check is expected to break: in the step of a function whose label contains the text. */
export interface BreakPlace {
  readonly function: string;
  readonly label: string | undefined;
}

export type Expectation =
  /** no enabled check breaks */
  | { readonly kind: 'clean'; readonly span: Span }
  /** the check breaks, and at the place if one is given */
  | {
      readonly kind: 'violated';
      readonly check: string;
      readonly at: BreakPlace | undefined;
      readonly span: Span;
    }
  /** why the run ends; without it any end will do */
  | { readonly kind: 'ends'; readonly halt: string; readonly span: Span }
  /** the expression holds when the run has ended */
  | {
      readonly kind: 'final';
      readonly expression: Expression;
      readonly text: string;
      readonly span: Span;
    };

type ExpectSection = Extract<Section, { kind: 'expect' }>;

export interface ExpectContext {
  readonly text: string;
  readonly layout: RecordType;
  readonly vocabulary: Vocabulary;
  readonly problems: Problem[];
  readonly report: Report;
}

const expectationOf = (section: ExpectSection, context: ExpectContext): Expectation | undefined => {
  const { expect, offset, length } = section;
  const span = { offset, length };
  const { vocabulary, report } = context;
  switch (expect.kind) {
    case 'clean':
      return { kind: 'clean', span };
    case 'violated': {
      const checks = vocabulary.checks.map(({ id }) => id);
      const functions = vocabulary.functions.map(({ name }) => name);
      const known = isKnown(expect.check, 'invariant', checks, report);
      const at = expect.function;
      if ((at !== undefined && !isKnown(at, 'function', functions, report)) || !known) {
        return undefined;
      }
      return {
        kind: 'violated',
        check: expect.check.text,
        span,
        at: at === undefined ? undefined : { function: at.text, label: expect.label?.text },
      };
    }
    case 'ends':
      return isKnown(expect.halt, 'end of a run', halts, report)
        ? { kind: 'ends', halt: expect.halt.text, span }
        : undefined;
    case 'final': {
      const where = spanOf(expect.expression);
      const text = context.text.slice(where.offset, where.offset + where.length);
      const compiled = compileTree(expect.expression, context.layout, text);
      if ('expression' in compiled) return { kind: 'final', text, span, ...compiled };
      context.problems.push(...compiled.problems);
      return undefined;
    }
  }
};

export const expectationsOf = (
  sections: readonly ExpectSection[],
  context: ExpectContext,
): Expectation[] => {
  const clean = sections.find(({ expect }) => expect.kind === 'clean');
  const violated = sections.some(({ expect }) => expect.kind === 'violated');
  if (clean !== undefined && violated) {
    context.report(clean, 'a run cannot be clean and violate an invariant; keep one expectation');
  }
  return sections.flatMap((section) => expectationOf(section, context) ?? []);
};
