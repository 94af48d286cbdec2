/** Format 1 of a recording. The text of each table is also what an opened file must have. */

/** "APIC" in the header of the file. */
export const applicationId = 0x4150_4943;
export const formatVersion = 1;

/**
 * `meta`: what a recording is, as JSON, deflated if long. `site`: steps of functions.
 * `finding`: where checks failed. `boot`: the arena at position 0, deflated.
 * `window`: steps `first` to `first + count − 1`. `words` lists the words that they write, for
 * questions about a field; `lanes` has their actors and levels; `body` is the window itself
 * (`main/sim/arena/window.ts`), deflated. The short columns stand before the long one, so that
 * reading them does not touch its pages. An index word → windows would be rewritten by every
 * commit, a page for almost each word: readers make it from `words` in a few milliseconds.
 * Each row ends with a checksum of its other columns.
 */
export const tables = {
  meta: `CREATE TABLE meta (
  key TEXT PRIMARY KEY, value ANY NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID`,
  site: `CREATE TABLE site (
  id INTEGER PRIMARY KEY, function TEXT NOT NULL, label TEXT NOT NULL, world TEXT NOT NULL,
  source TEXT NOT NULL, crc INTEGER NOT NULL
) STRICT`,
  finding: `CREATE TABLE finding (
  id INTEGER PRIMARY KEY, "check" TEXT NOT NULL, position INTEGER NOT NULL, step INTEGER NOT NULL,
  actor INTEGER NOT NULL, vcpu INTEGER NOT NULL, message TEXT NOT NULL, fields TEXT NOT NULL,
  crc INTEGER NOT NULL
) STRICT`,
  boot: `CREATE TABLE boot (
  id INTEGER PRIMARY KEY, words INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT`,
  window: `CREATE TABLE "window" (
  id INTEGER PRIMARY KEY, first INTEGER NOT NULL, count INTEGER NOT NULL,
  words BLOB NOT NULL, lanes BLOB NOT NULL, index_crc INTEGER NOT NULL,
  body BLOB NOT NULL, body_crc INTEGER NOT NULL
) STRICT`,
} as const;
