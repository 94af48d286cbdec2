// `run`: runs a scenario under all checks and tells what it came to.

import { resolve } from 'node:path';
import type { SeededKind } from '#sim/sched/schedule.ts';
import { InputError, shortened } from '../../input_error.ts';
import { type Outcome, type RunSettings, type Session, startRun } from '../../session.ts';
import { drive } from '../drive.ts';
import { findingAnswer, findingText } from '../findings.ts';
import { grouped, plural, type Status, scheduleShown, status } from '../output.ts';
import type { Run } from '../program.ts';

interface RunOptions {
  readonly output?: string;
  readonly profile?: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly schedule?: string;
  readonly seed?: number;
  readonly policy?: SeededKind;
  readonly stepsMax?: number;
}

export const run: Run<[string, RunOptions]> = async ({ output, library }, scenario, options) => {
  if (options.policy !== undefined && options.seed === undefined) {
    throw new InputError(`--policy ${options.policy} needs a seed: add --seed 1.`);
  }
  const source = library.named(scenario);
  const settings: RunSettings = { ...options, switches: options.set };
  const recording = options.output === undefined ? undefined : resolve(options.output);
  const bar = output.progress(`running ${source.name}`);
  const start = (): Session => startRun(source, settings, recording);
  const { outcome } = await drive(start, ({ run: { steps, stepsMax } }) =>
    bar.report(steps / stepsMax, `${steps} steps`),
  ).finally(() => bar.end());
  for (const note of outcome.notes) output.say(note);
  output.answer(answerOf(outcome, recording), () => textOf(outcome, recording));
  return statusOf(outcome);
};

/** A run that was cancelled is not as asked, whatever it had found. */
const statusOf = ({ findings, halted }: Outcome): Status =>
  findings.length > 0 || halted === 'cancelled' ? status.broken : status.asAsked;

const answerOf = (outcome: Outcome, recording: string | undefined) => {
  const { findings, notes, ...rest } = outcome;
  return {
    ...rest,
    findings: findings.map(findingAnswer),
    ...(notes.length === 0 ? {} : { notes }),
    ...(recording === undefined ? {} : { recording }),
  };
};

function textOf(outcome: Outcome, recording: string | undefined): string {
  const { steps, schedule, findings, halted, message, seconds, stepsPerSecond } = outcome;
  const pace = `${grouped(stepsPerSecond)} steps/s`;
  return [
    ...findings.map(findingText),
    `${plural(steps, 'step')} in ${seconds.toFixed(3)} s (${pace}); ${halted}: ${message}`,
    findings.length === 0 ? 'no invariant broke' : plural(findings.length, 'finding'),
    `schedule: ${shortened(schedule, scheduleShown)}`,
    ...(recording === undefined ? [] : [`recorded; to open it: npm start -- ${recording}`]),
  ].join('\n');
}
