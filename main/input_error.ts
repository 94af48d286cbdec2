// What the user can mend: an input or a usage that is wrong, told in one sentence.

import { nearest } from '#sim/scenario/diagnostics.ts';

/** Says what, where, and what to do. `details` is for programs: a file, a line, a column. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly details: Readonly<Record<string, unknown>>;

  constructor(sentence: string, details: Readonly<Record<string, unknown>> = {}) {
    super(sentence);
    this.details = details;
  }
}

/** The entry that `id` names, or an error that proposes the nearest one. */
export function named<T extends { readonly id: string }>(
  what: string,
  id: string,
  all: readonly T[],
): T {
  const found = all.find((one) => one.id === id);
  if (found !== undefined) return found;
  throw unknownName(
    what,
    id,
    all.map((one) => one.id),
  );
}

/** Longer lists are left to the command that prints them. */
const listedMax = 12;

export function unknownName(what: string, name: string, known: readonly string[]): InputError {
  const meant = nearest(name, known);
  const all = known.length <= listedMax ? `there are ${known.join(', ')}` : undefined;
  const help =
    meant !== undefined
      ? `did you mean ${meant}?`
      : (all ?? `apicscope ${what}s lists what there is.`);
  return new InputError(`There is no ${what} "${shortened(name)}"; ${help}`);
}

/** A message as a sentence: with a full stop, unless it ends with a sign already. */
export const ended = (message: string): string =>
  /[.?!]$/.test(message) ? message : `${message}.`;

/** A name as a message shows it. */
export const shortened = (name: string, length = 200): string =>
  name.length > length ? `${name.slice(0, length)}…` : name;
