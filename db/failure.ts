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

export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

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

/** The sentence for an error while `path` was written. */
export const writeError = (error: unknown, path: string): RecordingError => {
  if (error instanceof RecordingError) return error;
  const known = writeFailures.find(([code]) => code.test(codeOf(error)));
  const sentence =
    known?.[1](path) ?? `${path}: cannot be written (${messageOf(error)}); record elsewhere`;
  return new RecordingError(sentence, { cause: error });
};

/** The sentence for an error while `path` was read. */
export const readError = (error: unknown, path: string): RecordingError => {
  if (error instanceof RecordingError) return error;
  const code = codeOf(error);
  if (/^(EACCES|EPERM)/.test(code)) {
    return new RecordingError(`${path}: cannot be read; change its permissions`, { cause: error });
  }
  if (/^(ENOENT|ENOTDIR)/.test(code)) {
    return new RecordingError(`${path}: there is no such file; check the name`, { cause: error });
  }
  if (/^(ENOSPC|EROFS|ENAMETOOLONG)/.test(code)) {
    return new RecordingError(
      `${path}: cannot be opened (${messageOf(error)}); check the name and the temporary folder`,
      { cause: error },
    );
  }
  // What finds damage itself says so; SQLite and zlib have words of their own.
  const message = messageOf(error);
  const what = message.includes('damaged') ? message : `the recording is damaged (${message})`;
  return new RecordingError(`${path}: ${what}; record the scenario again`, { cause: error });
};
