/** What can go wrong with a file, as one sentence: what, where, and what to do. */

/** A recording that cannot be read or written. The message is for the user. */
export class RecordingError extends Error {
  override readonly name = 'RecordingError';
}

export const refuse = (sentence: string): never => {
  throw new RecordingError(sentence);
};

/** Fails with the sentence unless the condition holds. For what comes from a file. */
export function demand(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new RecordingError(sentence);
}

/** Fails unless the condition holds. For mistakes of ours. */
export function assert(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Error(`recorder: ${sentence}`);
}

/** One line, whatever SQLite quotes. */
export const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ');

export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : '';

/** Beginnings of the codes of SQLite and of Node, and what they mean to who writes a file. */
const writeFailures: readonly (readonly [RegExp, (path: string) => string])[] = [
  [
    /^(SQLITE_FULL|ENOSPC|EDQUOT|EFBIG|SQLITE_IOERR_WRITE|SQLITE_IOERR_TRUNCATE)/,
    (path) =>
      `${path}: there is no room left for the recording; free some space or record elsewhere`,
  ],
  [
    /^(SQLITE_READONLY|SQLITE_CANTOPEN|SQLITE_PERM|SQLITE_AUTH|EACCES|EPERM|EROFS)/,
    (path) => `${path}: the folder cannot be written to; record into another one`,
  ],
  [
    /^(SQLITE_BUSY|SQLITE_LOCKED)/,
    (path) =>
      `${path}: another run is being recorded into this file; wait for it or record elsewhere`,
  ],
  [/^(ENOENT|ENOTDIR)/, (path) => `${path}: there is no such folder; make it or record elsewhere`],
  [/^ENAMETOOLONG/, (path) => `${path}: the name is too long; record under a shorter one`],
];

/**
 * The sentence for an error while `path` was written. What no file system and no database said is
 * a mistake of ours, and stays what it is.
 */
export const writeError = (error: unknown, path: string): unknown => {
  const code = codeOf(error);
  if (error instanceof RecordingError || isOurs(error, code)) return error;
  const known = writeFailures.find(([pattern]) => pattern.test(code));
  const sentence =
    known?.[1](path) ?? `${path}: cannot be written (${messageOf(error)}); record elsewhere`;
  return new RecordingError(sentence, { cause: error });
};

const isOurs = (error: unknown, code: string): boolean => error instanceof TypeError || code === '';

const readFailures: readonly (readonly [RegExp, (path: string, message: string) => string])[] = [
  [/^(EACCES|EPERM)/, (path) => `${path}: cannot be read; change its permissions`],
  [/^(ENOENT|ENOTDIR)/, (path) => `${path}: there is no such file; check the name`],
  [
    /^(ENOSPC|EROFS|ENAMETOOLONG)/,
    (path, message) =>
      `${path}: cannot be opened (${message}); check the name and the temporary folder`,
  ],
];

/** The sentence for an error while `path` was read; mistakes of ours stay what they are. */
export const readError = (error: unknown, path: string): unknown => {
  if (error instanceof RecordingError) return error;
  const code = codeOf(error);
  const message = messageOf(error);
  // Decoders say "damaged" themselves; SQLite gives a RangeError for an absurdly large number.
  const isDamage = error instanceof RangeError || message.includes('damaged');
  if (isOurs(error, code) && !isDamage) return error;
  const known = readFailures.find(([pattern]) => pattern.test(code));
  const what = message.includes('damaged') ? message : `the recording is damaged (${message})`;
  const sentence = known?.[1](path, message) ?? `${path}: ${what}; record the scenario again`;
  return new RecordingError(sentence, { cause: error });
};
