// `scenarios`: the bundled ones, with what they promise.

import { compiled } from '../../compiled.ts';
import { expectText } from '../../expectation_text.ts';
import { status, table } from '../output.ts';
import type { Run } from '../program.ts';

export const scenarios: Run<[]> = ({ output, library }) => {
  const answer = library.all().map((source) => {
    const { title, profile, race, twin, expectations } = compiled(source);
    return { id: source.name, title, profile, race, twin, expect: expectText(expectations) };
  });
  output.answer(answer, () =>
    table(
      answer.map(({ id, title, profile, expect }) => [id, profile, expect, title]),
      ['id', 'profile', 'expect', 'title'],
    ),
  );
  return status.asAsked;
};
