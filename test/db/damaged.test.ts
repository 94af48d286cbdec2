import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { RecordingError } from '../../db/failure.ts';
import { openRecording } from '../../db/recording.ts';
import { rowCrc } from '../../db/rows.ts';
import { folderForTest, recordedFile } from './recorded.ts';
import { randomFrom } from './synthetic.ts';

/** Everything that a recording can be asked, as one value. */
const everything = (path: string): unknown => {
  const recording = openRecording(path);
  try {
    const { header, sites, findings, steps, end, recoveredTo } = recording;
    return {
      header,
      sites,
      findings,
      steps,
      end,
      recoveredTo,
      states: [0, 100, 4095, 4096, 4097, steps].map((p) => recording.stateAt(p)),
      windows: [0, 4096].map((p) => recording.windowAt(p)),
      writers: recording.writers('device.wide'),
      overview: recording.overview(0, steps, 10),
      choices: recording.choices(),
      step: recording.stepAt(4500),
    };
  } finally {
    recording.close();
  }
};

/** Gives undefined if it was read as before, else the sentence. */
const outcome = (path: string, whole: unknown): string | undefined => {
  let seen: unknown;
  try {
    seen = everything(path);
  } catch (error) {
    expect(error).toBeInstanceOf(RecordingError);
    const { message } = error as RecordingError;
    expect(message.startsWith(`${path}`)).toBe(true);
    expect(message).not.toContain('\n');
    return message;
  }
  expect(seen).toEqual(whole);
  return undefined;
};

const flips = 500;

test('a recording with a changed byte says so, or says what it said before', {
  timeout: 60_000,
}, () => {
  const path = recordedFile(5000);
  const whole = everything(path);
  const bytes = readFileSync(path);
  const random = randomFrom(11);
  const damaged = join(folderForTest(), 'damaged.apicrec');
  const places = Array.from({ length: flips }, (_, i) => (i < 100 ? i : random() % bytes.length));
  let errors = 0;
  for (const place of places) {
    const copy = Buffer.from(bytes);
    copy[place]! ^= 1 << (random() % 8);
    writeFileSync(damaged, copy);
    if (outcome(damaged, whole) !== undefined) errors++;
  }
  expect(errors).toBeGreaterThan(flips / 4);
});

test('a recording that is cut short anywhere says so', () => {
  const path = recordedFile(5000);
  const whole = everything(path);
  const { length } = readFileSync(path);
  const cut = join(folderForTest(), 'cut.apicrec');
  for (let size = 0; size < length; size += size < 200 ? 19 : 1999) {
    copyFileSync(path, cut);
    truncateSync(cut, size);
    expect(outcome(cut, whole)).toMatch(/cut short|not a recording/);
  }
});

/** Changes a copy of a recording with SQL. */
const doctored = (sql: string, change?: (db: Database.Database) => void): string => {
  const path = join(folderForTest(), 'doctored.apicrec');
  copyFileSync(recordedFile(5000), path);
  const db = new Database(path);
  db.exec(sql);
  change?.(db);
  db.close();
  return path;
};

const doctoredCases: readonly (readonly [string, string, RegExp])[] = [
  ['another program', 'PRAGMA application_id = 7', /another program/],
  ['a newer format', 'PRAGMA user_version = 2', /newer than 1; open it with a newer apicscope/],
  ['no format', 'PRAGMA user_version = 0', /no known format/],
  ['a negative format', 'PRAGMA user_version = -5', /newer|no known format/],
  ['a missing table', 'DROP TABLE finding', /lacks the table finding/],
  [
    'a view that never ends',
    `DROP TABLE site; CREATE VIEW site AS WITH RECURSIVE r(id) AS
    (SELECT 1 UNION ALL SELECT id + 1 FROM r) SELECT id, '' AS function, '' AS label, '' AS world,
    '' AS source, 0 AS crc FROM r`,
    /its table site is not that of a recording/,
  ],
  ['a missing window', 'DELETE FROM "window" WHERE id = 0', /window 0 is missing/],
  ['no last window', 'UPDATE "window" SET id = 7 WHERE id = 1', /window 1 is missing/],
  ['negative steps', 'UPDATE "window" SET count = -1 WHERE id = 1', /window 1 is damaged/],
  ['many steps', 'UPDATE "window" SET count = 4000000000 WHERE id = 1', /window 1 is damaged/],
  ['other steps', 'UPDATE "window" SET count = 800 WHERE id = 1', /checksum of window 1 is wrong/],
  [
    'a foreign window',
    'UPDATE "window" SET body = (SELECT body FROM "window" WHERE id = 0)',
    /checksum of window 1 is wrong/,
  ],
  ['no meta', 'DELETE FROM meta', /meta scenario|meta name/],
  ['other meta', `UPDATE meta SET value = '"x"' WHERE key = 'title'`, /meta title is damaged/],
  ['no boot image', 'DELETE FROM boot', /boot image is damaged/],
  ['a large boot image', 'UPDATE boot SET words = 1000000000', /boot image/],
  ['a renamed site', `UPDATE site SET label = label || '!'`, /site .* is damaged/],
];

for (const [name, sql, sentence] of doctoredCases) {
  test(`a recording with ${name} is refused in one sentence`, () => {
    expect(() => everything(doctored(sql))).toThrow(sentence);
  });
}

/** Replaces the layout by one whose checksum is right. */
const withLayout = (change: (layout: Record<string, unknown>) => unknown): string =>
  doctored('', (db) => {
    const row = db.prepare("SELECT value FROM meta WHERE key = 'layout'").get();
    const { value: stored } = row as { value: string | Uint8Array };
    const text = typeof stored === 'string' ? stored : inflateRawSync(stored).toString();
    const value = JSON.stringify(change(JSON.parse(text)));
    db.prepare("UPDATE meta SET value = ?, crc = ? WHERE key = 'layout'").run(
      value,
      rowCrc('layout', value),
    );
  });

const nestedArrays = (levels: number): unknown => {
  const of = levels === 0 ? undefined : nestedArrays(levels - 1);
  const field = {
    name: 'x',
    kind: levels === 0 ? 'uint' : 'array',
    offset: 0,
    bit: 0,
    width: levels === 0 ? 32 : 0,
    format: 'hex',
    doc: '',
    stride: 4,
    count: levels === 0 ? 1 : 1000,
    of,
    tag: -1,
  };
  return { name: 'r', doc: '', bytes: levels === 0 ? 4 : 4 * 1000 ** levels, fields: [field] };
};

test('a layout that describes an enormous or an impossible machine is refused', () => {
  const first = (layout: Record<string, unknown>): Record<string, unknown> =>
    (layout['fields'] as Record<string, unknown>[])[0]!;
  const changes: readonly ((layout: Record<string, unknown>) => unknown)[] = [
    () => 7,
    () => null,
    () => nestedArrays(3),
    () => nestedArrays(20),
    (l) => ({ ...l, bytes: 2 ** 40 }),
    (l) => ({ ...l, bytes: -4 }),
    (l) => ({ ...l, bytes: 0, fields: [] }),
    (l) => ({ ...l, fields: [{ ...first(l), count: 1e9 }] }),
    (l) => ({ ...l, fields: [{ ...first(l), count: 0 }] }),
    (l) => ({ ...l, fields: [{ ...first(l), offset: 4096 * 1000 }] }),
    (l) => ({ ...l, fields: [{ ...first(l), name: '../x' }] }),
    (l) => ({ ...l, fields: [{ ...first(l), kind: 'eval' }] }),
    (l) => ({ ...l, fields: [{ ...first(l), of: { name: 'e', doc: '', bytes: 0, fields: [] } }] }),
  ];
  for (const change of changes) {
    expect(() => everything(withLayout(change))).toThrow(RecordingError);
  }
});

test('what is not a recording at all is refused in one sentence', () => {
  const folder = folderForTest();
  const file = join(folder, 'notes.txt');
  expect(() => openRecording(file)).toThrow(/no such file/);
  expect(() => openRecording(folder)).toThrow(/is not a file/);
  expect(() => openRecording(join(file, 'x'))).toThrow(RecordingError);
  for (const text of ['', 'hello', 'SQLite format 3\0'.padEnd(5000, 'x'), '\0'.repeat(9000)]) {
    writeFileSync(file, text);
    expect(() => openRecording(file)).toThrow(RecordingError);
  }
  const other = new Database(join(folder, 'other.db'));
  other.exec('CREATE TABLE t (a)');
  other.close();
  expect(() => openRecording(join(folder, 'other.db'))).toThrow(/another program/);
});
