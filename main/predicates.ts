// Questions about states, from what a person wrote.

import type { Predicate } from '#db/queries/find.ts';
import type { RecordType } from '#sim/arena/fields.ts';
import type { Check } from '#sim/checks/check.ts';
import { checks } from '#sim/checks/index.ts';
import { compileExpression } from '#sim/scenario/expression.ts';
import { ended, InputError, named } from './input_error.ts';

/** An expression over the fields of a recording, as its queries want it. */
export function predicateOf(text: string, layout: RecordType): Predicate {
  const compiled = compileExpression(text, layout);
  if ('expression' in compiled) {
    const { words, usesPrevious, test } = compiled.expression;
    return { reads: words, comparesBefore: usesPrevious, holds: test };
  }
  const [first] = compiled.diagnostics;
  const message = first?.message ?? 'it is empty';
  const column = first?.column ?? 1;
  throw new InputError(`The expression, column ${column}: ${ended(message)}`, { column });
}

export const checkOf = (id: string): Check => named('invariant', id, checks);
