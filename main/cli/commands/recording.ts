// `info`, `show` and `diff`: what a recording is, and the states in it.

import type { Recording } from '#db/recording.ts';
import { type Leaf, textOf, valueAt } from '#sim/arena/leaves.ts';
import { scheduleText } from '#sim/sched/schedule.ts';
import { InputError, shortened } from '../../input_error.ts';
import { findingAnswer, findingText, namedFindings } from '../findings.ts';
import { leavesNamed, plainGlob } from '../leaves.ts';
import { positionIn, withRecording } from '../open_recording.ts';
import { plural, scheduleShown, status, table } from '../output.ts';
import type { Run } from '../program.ts';
import { changeAnswer, changeCells, siteText, stepAnswer, stepBefore, stepText } from '../steps.ts';

interface FieldOptions {
  readonly field?: readonly string[];
}

export const info: Run<[string]> = ({ output }, path) =>
  withRecording(path, (recording) => {
    const answer = infoOf(recording);
    output.answer(answer, () => infoText(recording, answer));
    return status.asAsked;
  });

const infoOf = (recording: Recording) => {
  const { header, end, steps, bytes, recoveredTo } = recording;
  return {
    scenario: header.name,
    title: header.title,
    profile: header.profile,
    switches: header.switches,
    actors: header.actors,
    // A run that was cut off has not stored its schedule, but its steps say it.
    schedule: end?.schedule ?? scheduleText({ items: recording.choices(), policy: undefined }),
    steps,
    findings: namedFindings(recording).map(findingAnswer),
    halted: end?.halt,
    message: end?.message,
    counters: end?.counters,
    modelVersion: header.modelVersion,
    bytes,
    recoveredTo,
  };
};

function infoText(recording: Recording, answer: ReturnType<typeof infoOf>): string {
  const { schedule, switches, halted, message, recoveredTo } = answer;
  const ended = recoveredTo === undefined ? `${halted}: ${message}` : 'the recorder did not finish';
  return [
    table([
      ['scenario', `${answer.scenario}: ${answer.title}`],
      ['profile', answer.profile],
      ...Object.entries(switches).map(([id, value]) => ['', `${id} ${value}`]),
      ['actors', answer.actors.join(' ')],
      ['steps', String(answer.steps)],
      ['ended', ended],
      ['schedule', shortened(schedule, scheduleShown)],
      ['model', `version ${answer.modelVersion}`],
      ['size', plural(answer.bytes, 'byte')],
    ]),
    ...namedFindings(recording).map(findingText),
  ].join('\n');
}

export const show: Run<[string, FieldOptions & { readonly at?: number }]> = (
  { output },
  path,
  options,
) =>
  withRecording(path, (recording) => {
    const position = positionAt(recording, options.at);
    const words = recording.stateAt(position);
    const leaves = leavesNamed(recording.layout, options.field);
    const step = stepBefore(recording, position);
    const next = position < recording.steps ? recording.stepAt(position) : undefined;
    const fields = Object.fromEntries(leaves.map((leaf) => [leaf.path, valueAt(words, leaf)]));
    const answer = {
      position,
      step: step && stepAnswer(step),
      next: next && stepAnswer(next),
      fields,
    };
    output.answer(answer, () =>
      [
        `position ${position} of ${recording.steps}`,
        step === undefined ? 'no step led here: this is the boot image' : stepText(step),
        '',
        table(leaves.map((leaf) => [leaf.path, valueText(recording, words, leaf)])),
      ].join('\n'),
    );
    return status.asAsked;
  });

const valueText = (recording: Recording, words: Uint32Array, leaf: Leaf): string =>
  leaf.format === 'site' ? siteText(recording, words[leaf.word]!) : textOf(words, leaf);

function positionAt(recording: Recording, at: number | undefined): number {
  if (at === undefined || at <= recording.steps) return at ?? recording.steps;
  throw new InputError(
    `There is no position ${at} in ${recording.path}; they go from 0 to ${recording.steps}.`,
  );
}

export const diff: Run<[string, string, string, FieldOptions]> = (
  { output },
  path,
  textA,
  textB,
  { field },
) =>
  withRecording(path, (recording) => {
    const [a, b] = [positionIn(recording, textA), positionIn(recording, textB)];
    if (field !== undefined) leavesNamed(recording.layout, field);
    const found = recording.diff(a, b, field?.map(plainGlob));
    const changes = found.map(changeAnswer);
    output.answer({ a, b, changes }, () =>
      found.length === 0
        ? `nothing differs between positions ${a} and ${b}`
        : table(found.map((change) => changeCells(recording, change))),
    );
    return status.asAsked;
  });
