// `profiles` and `switches`: the table of protections, as a person and as a program reads it.

import {
  profiles as allProfiles,
  switches as allSwitches,
  defaultProfile,
} from '#sim/state/switches.ts';
import { status, table } from '../output.ts';
import type { Run } from '../program.ts';

export const profiles: Run<[]> = ({ output }) => {
  const answer = allProfiles.map(({ id, summary, switches }) => ({
    id,
    summary,
    isDefault: id === defaultProfile,
    switches,
  }));
  output.answer(answer, () =>
    answer
      .map(
        ({ id, summary, isDefault, switches }) =>
          `${id}${isDefault ? ' (default)' : ''}: ${summary}\n${settings(switches)}`,
      )
      .join('\n\n'),
  );
  return status.asAsked;
};

const settings = (switches: Readonly<Record<string, string>>): string =>
  table(Object.entries(switches).map(([id, value]) => [`  ${id}`, value]));

export const switches: Run<[]> = ({ output }) => {
  const answer = allSwitches.map(({ id, values, since, races, summary }) => ({
    id,
    summary,
    values,
    since,
    races,
  }));
  output.answer(answer, () =>
    answer
      .map(({ id, values, since, races, summary }) =>
        [
          `${id} = ${values.join(' | ')}`,
          `  ${summary}`,
          `  since ${since}; races ${races.join(' ')}`,
        ].join('\n'),
      )
      .join('\n\n'),
  );
  return status.asAsked;
};
