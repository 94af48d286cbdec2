/** The file of a recording while it is written: tables, commits, and how it ends. */

import { renameSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { Finding, RecordingEnd, RecordingHeader, SiteEntry } from './header.ts';
import { applicationId, formatVersion, tables } from './migrations/001_recording.ts';
import { deflate, metaBytesMax, rowCrc } from './rows.ts';
import { removeDatabase, type Target, takePlace } from './target.ts';

/** Encoded, compressed and ready to be stored. */
export interface WindowRow {
  readonly id: number;
  readonly first: number;
  readonly count: number;
  /** packed list of the words that it writes */
  readonly words: Uint8Array;
  /** packed actors and levels of its steps */
  readonly lanes: Uint8Array;
  /** deflated columns: `main/sim/arena/window.ts` */
  readonly body: Uint8Array;
}

/** All that one commit adds. */
export interface Commit {
  readonly window: WindowRow | undefined;
  readonly sites: readonly SiteEntry[];
  readonly findings: readonly Finding[];
  /** number of findings before these */
  readonly findingsBefore: number;
  readonly end: RecordingEnd | undefined;
}

/** Pages of the log after which SQLite moves them into the file: fewer, longer pauses. */
const checkpointPages = 4000;

/** Longer values of `meta` are deflated: the schedule of a long run, the layout. */
const metaTextMax = 4096;

/** A schedule longer than a reader accepts is left out: the windows have it too. */
const storable = (end: RecordingEnd): RecordingEnd =>
  end.schedule.length <= metaBytesMax ? end : { ...end, schedule: '' };

export class RecordingWriter {
  readonly #target: Target;
  /** the file that holds the recording now */
  #path: string;
  #db: Database.Database;
  #putMeta: Database.Statement;
  #putWindow: Database.Statement;
  #putSite: Database.Statement;
  #putFinding: Database.Statement;

  /** Makes the file with all that is known before the first step. */
  constructor(target: Target, header: RecordingHeader, boot: Uint32Array) {
    this.#target = target;
    this.#path = target.scratch;
    try {
      createFile(target.scratch, header, boot);
      if (target.writes !== target.scratch) renameSync(target.scratch, target.writes);
      this.#path = target.writes;
      this.#db = openForCommits(target.writes);
    } catch (error) {
      removeDatabase(this.#path);
      throw error;
    }
    this.#putMeta = this.#db.prepare('INSERT OR REPLACE INTO meta VALUES (?, ?, ?)');
    this.#putWindow = this.#db.prepare('INSERT OR REPLACE INTO "window" VALUES (?,?,?,?,?,?,?,?)');
    this.#putSite = this.#db.prepare('INSERT OR REPLACE INTO site VALUES (?,?,?,?,?,?)');
    this.#putFinding = this.#db.prepare(
      'INSERT OR REPLACE INTO finding VALUES (?,?,?,?,?,?,?,?,?)',
    );
  }

  commit(commit: Commit): void {
    const db = this.#db;
    db.exec('BEGIN IMMEDIATE');
    try {
      if (commit.window !== undefined) this.#storeWindow(commit.window);
      for (const site of commit.sites) this.#storeSite(site);
      for (const [i, finding] of commit.findings.entries()) {
        this.#storeFinding(commit.findingsBefore + i, finding);
      }
      if (commit.end !== undefined) putMeta(this.#putMeta, { ...storable(commit.end) });
      db.exec('COMMIT');
    } catch (error) {
      if (db.inTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }

  /** Makes one plain file of it and puts it at its place. */
  finish(): void {
    const db = this.#db;
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.pragma('journal_mode = DELETE');
    db.close();
    if (this.#path !== this.#target.path) takePlace(this.#path, this.#target.path);
  }

  /** Removes all that was written. What stood at the target before still stands there. */
  remove(): void {
    this.#db.close();
    removeDatabase(this.#path);
  }

  #storeWindow(row: WindowRow): void {
    const { id, first, count, words, lanes, body } = row;
    this.#putWindow.run(
      id,
      first,
      count,
      words,
      lanes,
      rowCrc(id, first, count, words, lanes),
      body,
      rowCrc(id, first, count, body),
    );
  }

  #storeSite(site: SiteEntry): void {
    const cells = [site.id, site.function, site.label, site.world, site.source] as const;
    this.#putSite.run(...cells, rowCrc(...cells));
  }

  #storeFinding(id: number, f: Finding): void {
    const cells = [
      id,
      f.check,
      f.position,
      f.step,
      f.actor,
      f.vcpu,
      f.message,
      JSON.stringify(f.fields),
    ] as const;
    this.#putFinding.run(...cells, rowCrc(...cells));
  }
}

const putMeta = (
  statement: Database.Statement,
  values: Readonly<Record<string, unknown>>,
): void => {
  for (const [key, value] of Object.entries(values)) {
    const text = JSON.stringify(value);
    const cell = text.length > metaTextMax ? deflate(Buffer.from(text)) : text;
    statement.run(key, cell, rowCrc(key, cell));
  }
};

/** A file without a log of its own: what is in it can be renamed and copied. */
const createFile = (path: string, header: RecordingHeader, boot: Uint32Array): void => {
  const db = new Database(path);
  try {
    db.pragma(`application_id = ${applicationId}`);
    db.pragma('synchronous = NORMAL');
    db.exec('BEGIN EXCLUSIVE');
    for (const sql of Object.values(tables)) db.exec(sql);
    putMeta(db.prepare('INSERT INTO meta VALUES (?, ?, ?)'), { ...header, formatVersion });
    const body = deflate(new Uint8Array(boot.buffer, boot.byteOffset, boot.byteLength));
    db.prepare('INSERT INTO boot VALUES (0, ?, ?, ?)').run(
      boot.length,
      body,
      rowCrc(boot.length, body),
    );
    db.pragma(`user_version = ${formatVersion}`);
    db.exec('COMMIT');
  } finally {
    db.close();
  }
};

/** The lock is kept from commit to commit: a second recorder notices, and commits are cheaper. */
const openForCommits = (path: string): Database.Database => {
  const db = new Database(path, { fileMustExist: true, timeout: 0 });
  db.pragma('locking_mode = EXCLUSIVE');
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  db.pragma(`wal_autocheckpoint = ${checkpointPages}`);
  return db;
};
