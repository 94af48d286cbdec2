// `writers`, `find` and `bisect`: questions about a whole recording.

import type { BisectResult } from '#db/queries/bisect.ts';
import type { Recording } from '#db/recording.ts';
import { InputError } from '../../input_error.ts';
import { checkOf, predicateOf } from '../../predicates.ts';
import { leafNamed } from '../leaves.ts';
import { withRecording } from '../open_recording.ts';
import { status, table } from '../output.ts';
import type { Run } from '../program.ts';
import { changeCells, stepAnswer, stepText } from '../steps.ts';

interface WritersOptions {
  readonly before?: number;
  readonly after?: number;
  readonly limit?: number;
}

export const writers: Run<[string, string, WritersOptions]> = ({ output }, path, field, range) =>
  withRecording(path, (recording) => {
    leafNamed(recording.layout, field);
    const found = recording.writers(field, range);
    const steps = found.map(({ step, actor, function: name, label, fromValue, toValue }) => ({
      step,
      actor,
      function: name,
      label,
      from: fromValue,
      to: toValue,
    }));
    output.answer({ steps }, () =>
      found.length === 0
        ? `nobody wrote ${field}`
        : table(
            found.map((one) => [
              one.step,
              one.actor,
              one.function,
              `${one.from} → ${one.to}`,
              one.label,
            ]),
            ['step', 'actor', 'function', 'change', 'label'],
          ),
    );
    return found.length === 0 ? status.broken : status.asAsked;
  });

interface RangeOptions {
  readonly from?: number;
  readonly to?: number;
}

export const find: Run<[string, string, RangeOptions & { readonly limit?: number }]> = (
  { output },
  path,
  expression,
  range,
) =>
  withRecording(path, (recording) => {
    const predicate = predicateOf(expression, recording.layout);
    const positions = recording.find(predicate, range);
    output.answer({ positions }, () =>
      positions.length === 0 ? 'it never becomes true' : positions.join('\n'),
    );
    return positions.length === 0 ? status.broken : status.asAsked;
  });

interface BisectOptions extends RangeOptions {
  readonly invariant?: string;
  readonly expr?: string;
}

export const bisect: Run<[string, BisectOptions]> = ({ output }, path, options) =>
  withRecording(path, (recording) => {
    const start = performance.now();
    const result = bisected(recording, options);
    const seconds = (performance.now() - start) / 1000;
    const { broken, evaluations, note } = result;
    if (note !== undefined) output.say(note);
    const step = broken && broken.firstBad > 0 ? recording.stepAt(broken.firstBad - 1) : undefined;
    const told = step && stepAnswer(step);
    output.answer({ ...broken, step: told, evaluations, seconds, note }, () => {
      if (broken === undefined) return 'it held in the whole range';
      if (step === undefined) return 'it is broken in the boot image';
      return [
        `last good position ${broken.lastGood}, first bad position ${broken.firstBad}`,
        ...(broken.message === '' ? [] : [broken.message]),
        stepText(step),
        table(step.writes.map((write) => ['', ...changeCells(recording, write)])),
      ].join('\n');
    });
    return broken === undefined ? status.broken : status.asAsked;
  });

function bisected(recording: Recording, options: BisectOptions): BisectResult {
  const { invariant, expr, from, to } = options;
  if (invariant !== undefined) return recording.bisectCheck(checkOf(invariant), { from, to });
  if (expr === undefined) throw new InputError('Say what broke: --invariant ID or --expr EXPR.');
  return recording.bisectPredicate(predicateOf(expr, recording.layout), { from, to });
}
