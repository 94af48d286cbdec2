/**
 * Opens the file of a recording for reading and never changes it.
 * A finished recording is one plain file and is read in place. One that a kill left has a log
 * beside it: both are copied to a temporary folder and put together there, because SQLite cannot
 * do that without writing. So a folder that is read-only makes no difference.
 */

import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { demand, readError, refuse } from './failure.ts';
import { applicationId, formatVersion, tables } from './migrations/001_recording.ts';
import { fileHeader, headerNumber, isSqlite } from './target.ts';

export interface OpenFile {
  readonly db: Database.Database;
  /** bytes of the recording, its log included */
  readonly bytes: number;
  close(): void;
}

/** Opens and checks all that can be told without reading rows. */
export const openFile = (path: string): OpenFile => {
  try {
    return openChecked(path);
  } catch (error) {
    throw readError(error, path);
  }
};

const openChecked = (path: string): OpenFile => {
  const header = checkHeader(path);
  const bytes = sizeOf(path) + sizeOf(`${path}-wal`);
  const whole = isPlain(header) && !hasCompanion(path);
  if (whole) checkLength(path, header);
  const file = whole ? openInPlace(path) : openCopy(path, header);
  try {
    checkTables(path, file.db);
  } catch (error) {
    file.close();
    throw error;
  }
  return { ...file, bytes };
};

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

const checkHeader = (path: string): Uint8Array => {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) refuse(`${path}: there is no such file; check the name`);
  demand(stat?.isFile() === true, `${path}: is not a file; name a recording`);
  const header = fileHeader(path);
  demand(isSqlite(header), `${path}: is not a recording; name a file that apicscope recorded`);
  demand(
    headerNumber(header, 68) === applicationId,
    `${path}: is a database of another program, not a recording; name another file`,
  );
  const version = headerNumber(header, 60);
  demand(
    version <= formatVersion,
    `${path}: has format ${version}, newer than ${formatVersion}; open it with a newer apicscope`,
  );
  demand(version === formatVersion, `${path}: has no known format; record the scenario again`);
  return header;
};

/** Neither a log beside the file nor in use: what a finished recording is. */
const isPlain = (header: Uint8Array): boolean => header[18] === 1 && header[19] === 1;

const hasCompanion = (path: string): boolean =>
  sizeOf(`${path}-wal`) > 0 || sizeOf(`${path}-journal`) > 0;

const checkLength = (path: string, header: Uint8Array): void => {
  const page = (header[16]! << 8) | header[17]!;
  const expected = (page === 1 ? 65536 : page) * headerNumber(header, 28);
  const size = sizeOf(path);
  demand(
    size >= expected,
    `${path}: is cut short, ${size} of ${expected} bytes are there; copy it again`,
  );
};

const openInPlace = (path: string): { db: Database.Database; close(): void } => {
  const db = new Database(path, { readonly: true, fileMustExist: true });
  careful(db);
  return { db, close: () => db.close() };
};

/** A file may be made to harm who opens it: believe nothing that its schema says. */
const careful = (db: Database.Database): void => {
  db.pragma('trusted_schema = OFF');
  db.pragma('cell_size_check = ON');
};

const openCopy = (path: string, header: Uint8Array): { db: Database.Database; close(): void } => {
  const folder = mkdtempSync(join(tmpdir(), 'apicscope-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  try {
    const copy = join(folder, 'recording');
    copyWhole(path, copy, isPlain(header) ? ['-journal'] : ['-wal', '-journal']);
    const writable = new Database(copy, { fileMustExist: true });
    try {
      careful(writable);
      writable.pragma('journal_mode = DELETE');
    } finally {
      writable.close();
    }
    const { db, close } = openInPlace(copy);
    return {
      db,
      close: () => {
        close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
};

const attempts = 20;

/** Copies file and log at one instant: if a recorder writes meanwhile, again. */
const copyWhole = (path: string, copy: string, logs: readonly string[]): void => {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const before = stamp(path);
    copyFileSync(path, copy);
    for (const suffix of logs) {
      rmSync(copy + suffix, { force: true });
      if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    }
    if (stamp(path) === before) return;
  }
  refuse(`${path}: is being recorded right now; open it when the run has ended`);
};

const stamp = (path: string): string =>
  [path, `${path}-wal`, `${path}-journal`]
    .map((file) => {
      const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
      return stat === undefined ? 'none' : `${stat.size} ${stat.mtimeNs} ${stat.ino}`;
    })
    .join();

interface SchemaRow {
  readonly type: unknown;
  readonly sql: unknown;
}

/** Each table is exactly what the format says: a view in its place could compute for ever. */
const checkTables = (path: string, db: Database.Database): void => {
  const find = db.prepare('SELECT type, sql FROM sqlite_schema WHERE name = ?');
  for (const [name, sql] of Object.entries(tables)) {
    const rows = find.all(name) as SchemaRow[];
    demand(rows.length > 0, `${path}: lacks the table ${name}; record the scenario again`);
    demand(
      rows.length === 1 && rows[0]?.type === 'table' && rows[0].sql === sql,
      `${path}: its table ${name} is not that of a recording; record the scenario again`,
    );
  }
};
