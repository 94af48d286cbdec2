/**
 * Where a new recording is written. A new name is written in place: each commit leaves it whole.
 * Over another recording, the new one is written beside it and takes its place when it is done.
 */

import {
  closeSync,
  existsSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { codeOf, refuse } from './failure.ts';
import { applicationId } from './migrations/001_recording.ts';

/** Bytes of the header of an SQLite file. */
export const fileHeaderBytes = 100;
const magic = 'SQLite format 3\0';

/** The first bytes of a file, fewer if it is shorter. */
export const fileHeader = (path: string): Uint8Array => {
  const file = openSync(path, 'r');
  try {
    const bytes = new Uint8Array(fileHeaderBytes);
    return bytes.subarray(0, readSync(file, bytes, 0, fileHeaderBytes, 0));
  } finally {
    closeSync(file);
  }
};

export const isSqlite = (header: Uint8Array): boolean =>
  header.length === fileHeaderBytes &&
  new TextDecoder('latin1').decode(header.subarray(0, magic.length)) === magic;

export const headerNumber = (header: Uint8Array, offset: number): number =>
  new DataView(header.buffer, header.byteOffset).getUint32(offset);

export const isRecording = (header: Uint8Array): boolean =>
  isSqlite(header) && headerNumber(header, 68) === applicationId;

/** Files that SQLite keeps beside a database. */
export const companions = (path: string): string[] =>
  ['-wal', '-shm', '-journal'].map((suffix) => path + suffix);

export const removeDatabase = (path: string): void => {
  for (const file of [...companions(path), path]) rmSync(file, { force: true });
};

export interface Target {
  readonly path: string;
  /** where the recorder writes; `path` itself unless something stands there */
  readonly writes: string;
  /** where the first commit is made */
  readonly scratch: string;
}

/** Decides where a recording under a name is written; refuses to lose what is not a recording. */
export const targetFor = (named: string): Target => {
  const folder = dirname(named);
  if (!existsSync(folder))
    refuse(`${folder}: there is no such folder; make it or record elsewhere`);
  const taken = replaceable(named);
  // A link stays one: what it leads to is replaced.
  const path = taken ? realpathSync(named) : named;
  const scratch = `${path}.partial`;
  if (replaceable(scratch)) discardScratch(scratch);
  return { path, writes: taken ? scratch : path, scratch };
};

/** Is there something at `path` that may be replaced? Fails if there is something else. */
const replaceable = (path: string): boolean => {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (stat.isDirectory()) refuse(`${path}: is a folder; name a file to record into`);
  if (!stat.isFile()) refuse(`${path}: is not an ordinary file; record into another one`);
  if (stat.size > 0 && !isRecording(fileHeader(path))) {
    refuse(`${path}: exists and is not a recording; move it away or record into another file`);
  }
  return true;
};

/** Removes what a killed recorder left beside its target, unless one is still writing it. */
const discardScratch = (scratch: string): void => {
  if (statSync(scratch).size > 0 && isLocked(scratch)) {
    refuse(`${scratch}: another run is being recorded into it; wait for it or record elsewhere`);
  }
  removeDatabase(scratch);
};

const isLocked = (path: string): boolean => {
  try {
    const db = new Database(path, { timeout: 0 });
    try {
      db.pragma('locking_mode = EXCLUSIVE');
      db.exec('BEGIN EXCLUSIVE; ROLLBACK');
    } finally {
      db.close();
    }
    return false;
  } catch (error) {
    // A damaged leftover is nobody's: only a lock keeps it.
    return codeOf(error).startsWith('SQLITE_BUSY');
  }
};

/** Puts the finished file at the target. The log of an old recording must not meet the new one. */
export const takePlace = (from: string, to: string): void => {
  for (const file of companions(to)) rmSync(file, { force: true });
  renameSync(from, to);
};
