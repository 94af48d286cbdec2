// `fields`: the declared state, on a machine of the usual size.

import { type Leaf, leavesMatching, leavesOf } from '#sim/arena/leaves.ts';
import { helpAt, helpLines } from '#sim/state/help/index.ts';
import { limits } from '#sim/state/limits.ts';
import { layoutOf } from '#sim/state/machine.ts';
import { plainGlob, unknownField } from '../leaves.ts';
import { plural, status, table } from '../output.ts';
import type { Run } from '../program.ts';

/** Sizes of the machine whose fields are listed; the rest repeats with a higher index. */
const usual = { vcpus: 2, actors: 4, frames: limits.framesDefault, memoryPages: 1 };

export const fields: Run<[string | undefined]> = ({ output }, glob) => {
  const layout = layoutOf(usual);
  const leaves = glob === undefined ? leavesOf(layout) : leavesMatching(layout, plainGlob(glob));
  if (leaves.length === 0 && glob !== undefined && !glob.includes('*')) {
    throw unknownField(layout, glob);
  }
  const answer = leaves.map(described);
  output.answer(answer, () =>
    [
      table(
        answer.map(({ path, kind, bits, offset, doc }) => [path, kind, bits, offset, doc]),
        ['path', 'kind', 'bits', 'offset', 'meaning'],
      ),
      ...(answer.length === 1 ? helpLines(answer[0]!.path) : [plural(answer.length, 'field')]),
    ].join('\n'),
  );
  return answer.length === 0 ? status.broken : status.asAsked;
};

/** `offset` is in bytes from the start of the machine; `bit` counts from there. */
const described = ({ path, kind, width, word, bit, format, doc, tag }: Leaf) => ({
  path,
  kind,
  bits: width,
  offset: word * 4 + (bit >>> 3),
  bit: bit & 7,
  format,
  doc,
  ...(tag < 0 ? {} : { tag }),
  ...helpAt(path),
});
