// The files that were opened last, newest first, in one small file.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';

const recentMax = 12;
const stored = z.array(z.string());

export class RecentFiles {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Those that still exist. */
  list(): string[] {
    return this.#stored().filter((path) => existsSync(path));
  }

  add(path: string): void {
    const next = [path, ...this.#stored().filter((one) => one !== path)].slice(0, recentMax);
    mkdirSync(dirname(this.#path), { recursive: true });
    // Written beside its name and renamed, so that a crash leaves the old list.
    const beside = `${this.#path}.${process.pid}.new`;
    writeFileSync(beside, JSON.stringify(next));
    renameSync(beside, this.#path);
  }

  /** A list that is missing or spoilt is an empty one: it is a convenience, and made anew. */
  #stored(): string[] {
    if (!existsSync(this.#path)) return [];
    try {
      return stored.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return [];
    }
  }
}
