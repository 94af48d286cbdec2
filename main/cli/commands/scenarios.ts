// `scenarios`: the bundled ones, with what they promise.

import { compiled } from '../../compiled.ts';
import { expectationText } from '../../expectation_text.ts';
import { libraryEntry } from '../../library_entry.ts';
import { status, table } from '../output.ts';
import type { Run } from '../program.ts';

export const scenarios: Run<[]> = ({ output, library }) => {
  const answer = library.all().map((source) => {
    const scenario = compiled(source);
    const { about: _, text: __, ...entry } = libraryEntry(source, scenario);
    return { ...entry, expectations: scenario.expectations.map(expectationText) };
  });
  output.answer(answer, () =>
    table(
      answer.map(({ id, title, profile, role, expect }) => [id, profile, role, expect, title]),
      ['id', 'profile', 'role', 'expect', 'title'],
    ),
  );
  return status.asAsked;
};
