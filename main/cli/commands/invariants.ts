// `invariants`: what is checked after every step, at every entry or exit, or once nobody can move.

import { checks } from '#sim/checks/index.ts';
import { status } from '../output.ts';
import type { Run } from '../program.ts';

export const invariants: Run<[]> = ({ output }) => {
  const answer = checks.map(({ id, summary, why, when, per, races, reads }) => ({
    id,
    summary,
    why,
    when,
    per,
    races,
    reads,
  }));
  output.answer(answer, () =>
    answer
      .map(({ id, summary, why, when, races }) =>
        [
          `${id} (${whenWords[when]})`,
          `  ${summary}`,
          `  ${why}`,
          ...(races.length > 0 ? [`  races ${races.join(' ')}`] : []),
        ].join('\n'),
      )
      .join('\n\n'),
  );
  return status.asAsked;
};

const whenWords = {
  step: 'after every step',
  entry: 'at every VM entry',
  exit: 'at every VM exit',
  quiet: 'once nobody can move',
} as const;
