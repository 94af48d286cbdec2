// Scenarios by name: those that come with the program, and files of the user's own.

import { readdirSync, readFileSync, type Stats, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { InputError, shortened, unknownName } from './input_error.ts';

export interface ScenarioText {
  /** the id in the library, or the name of the file without its ending */
  readonly name: string;
  readonly path: string;
  readonly text: string;
  readonly isBundled: boolean;
}

const ending = '.scn';
const bytesMax = 1 << 20;

export class Library {
  readonly #folder: string;
  #paths: ReadonlyMap<string, string> | undefined;

  /** `folder` holds the bundled scenarios, in folders as deep as they like. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  ids(): string[] {
    return [...this.#found().keys()];
  }

  all(): ScenarioText[] {
    return this.ids().map((id) => this.bundled(id)!);
  }

  bundled(id: string): ScenarioText | undefined {
    const path = this.#found().get(id);
    if (path === undefined) return undefined;
    return { name: id, path, text: textIn(path), isBundled: true };
  }

  /** The scenario that a person names: a file, or the id of a bundled one. */
  named(nameOrPath: string): ScenarioText {
    const stats = statsOf(nameOrPath);
    const bundled = stats?.isFile() === true ? undefined : this.bundled(nameOrPath);
    if (bundled !== undefined) return bundled;
    if (stats === undefined) throw this.#missing(nameOrPath);
    return {
      name: basename(nameOrPath, ending),
      path: nameOrPath,
      text: textIn(nameOrPath),
      isBundled: false,
    };
  }

  #missing(nameOrPath: string): InputError {
    if (!looksLikeFile(nameOrPath)) return unknownName('scenario', nameOrPath, this.ids());
    return new InputError(
      `${shortened(nameOrPath)}: there is no such file; see that the path is right.`,
    );
  }

  #found(): ReadonlyMap<string, string> {
    this.#paths ??= new Map(
      readdirSync(this.#folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith(ending))
        .map((name): [string, string] => [basename(name, ending), join(this.#folder, name)])
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
    return this.#paths;
  }
}

const looksLikeFile = (name: string): boolean => /[/\\]/.test(name) || name.endsWith(ending);

const statsOf = (path: string): Stats | undefined => {
  // A path with a NUL, or longer than the system's bound, is no file either.
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
};

/** The text of a file; a folder, a device, bytes that are no text and huge files are refused. */
export function textIn(path: string): string {
  const refuse = (what: string): never => {
    throw new InputError(`${shortened(path)}: ${what}; name a scenario, a text file *${ending}.`, {
      file: path,
    });
  };
  const stats = statsOf(path);
  if (stats === undefined) return refuse('there is no such file');
  if (stats.isDirectory()) return refuse('this is a folder');
  if (!stats.isFile()) return refuse('this is not an ordinary file');
  if (stats.size > bytesMax) return refuse(`this is longer than ${bytesMax} bytes`);
  const bytes = contentOf(path);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text.includes('\0') ? refuse('this is not text (it holds a zero byte)') : text;
  } catch (error) {
    if (error instanceof InputError) throw error;
    return refuse('this is not text (its bytes are not UTF-8)');
  }
}

function contentOf(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InputError(`${shortened(path)}: it cannot be read (${why}); see to its rights.`);
  }
}
