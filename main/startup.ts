// What the application was asked to show when it was started: a recording, a scenario, or nothing.

import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { resolve } from 'node:path';

/** Shown when nothing else is asked for. */
export const firstScenario = 'R01-k4.15-buggy';

export interface Startup {
  /** path of a recording */
  readonly open?: string;
  /** id of a bundled scenario */
  readonly scenario?: string;
  /** path of a scenario of the user's own */
  readonly file?: string;
}

/**
 * The words behind the application's folder (`electron [switches] FOLDER words`), or all if
 * packaged.
 */
export function wordsOf(argv: readonly string[], appPath: string, isPackaged: boolean): string[] {
  const words = argv.slice(1).filter((word) => !word.startsWith('-'));
  if (isPackaged) return words;
  const folder = words.findIndex((word) => resolve(word) === resolve(appPath));
  return words.slice(folder + 1);
}

/** `folder` is where the user stood; paths are relative to it. */
export function startupFor(words: readonly string[], folder: string): Startup {
  const word = words[0];
  if (word === undefined) return { scenario: firstScenario };
  const path = resolve(folder, word);
  if (!isFile(path)) {
    // Either an id of the library, or a file that is missing: opening it says so in words.
    return /[/\\]|\.apicrec$/.test(word) ? { open: path } : { scenario: word };
  }
  return isDatabase(path) ? { open: path } : { file: path };
}

const isFile = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isFile() === true;

const databaseMagic = 'SQLite format 3\0';

/** Recordings are databases; everything else is read as a scenario. */
function isDatabase(path: string): boolean {
  const head = Buffer.alloc(databaseMagic.length);
  const file = openSync(path, 'r');
  try {
    readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
  return head.toString('latin1') === databaseMagic;
}

/** npm runs its scripts in the project's folder, and says where the user stood. */
export function folderOfUser(): string {
  const { npm_lifecycle_event: script, INIT_CWD: where } = process.env;
  return where !== undefined && (script === 'start' || script === 'dev') ? where : process.cwd();
}
