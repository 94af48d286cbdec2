// How the values of options and arguments are read; what is wrong with one is said by commander.

import { InvalidArgumentError } from 'commander';

/** Bounds of what may be asked for on the command line. */
export const asked = {
  stepsMax: 1_000_000_000,
  seedMax: 0xffff_ffff,
  /** positions, steps and counts that a list may have */
  listMax: 1_000_000_000,
  threadsMax: 64,
} as const;

/** A whole number from `min` to `max`, decimal or 0x…. */
export const whole =
  (min: number, max: number) =>
  (text: string): number => {
    const value = /^(\d{1,16}|0x[0-9a-fA-F]{1,13})$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };

export const position = whole(0, asked.listMax);
export const count = whole(1, asked.listMax);

/** `A..B`: the seeds from A to B. */
export const seeds = (text: string): { readonly from: number; readonly count: number } => {
  const match = /^(\d{1,10})\.\.(\d{1,10})$/.exec(text);
  const [from, to] = [Number(match?.[1]), Number(match?.[2])];
  if (from <= to && to <= asked.seedMax) return { from, count: to - from + 1 };
  throw new InvalidArgumentError(`It must be FIRST..LAST, seeds from 0 to ${asked.seedMax}.`);
};

/** Gathers an option that may be given more than once. */
export const gather = (text: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  text,
];

/** Gathers `SWITCH=VALUE`; the last one for a switch counts. */
export const gatherSetting = (
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> => {
  const match = /^([^=]+)=(.*)$/s.exec(text);
  if (match === null) throw new InvalidArgumentError('It must be SWITCH=VALUE.');
  return { ...before, [match[1]!]: match[2]! };
};
