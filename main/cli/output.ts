// What a command says: its answer on standard output, everything else on standard error.

import type { Writable } from 'node:stream';

/** Exit statuses of the contract. */
export const status = { asAsked: 0, broken: 1, wrongInput: 2, ourFault: 3 } as const;
export type Status = (typeof status)[keyof typeof status];

export interface Streams {
  readonly out: Writable;
  readonly err: Writable & { readonly isTTY?: boolean; readonly columns?: number };
}

export class Output {
  readonly json: boolean;
  readonly #streams: Streams;

  constructor(json: boolean, streams: Streams) {
    this.json = json;
    this.#streams = streams;
  }

  /** The answer, once: a JSON document, or the text that `text` makes. */
  answer(value: unknown, text: () => string): void {
    const document = this.json ? JSON.stringify(value) : text().trimEnd();
    if (document !== '') this.#streams.out.write(`${document}\n`);
  }

  /** A sentence for the person at the terminal. */
  say(sentence: string): void {
    this.#streams.err.write(`${sentence}\n`);
  }

  /** A bar for work that may take long; it shows only on a terminal and only if it does. */
  progress(what: string): ProgressBar {
    return new ProgressBar(what, this.#streams.err);
  }
}

const shownAfterMs = 500;
const redrawnAfterMs = 100;
const barWidth = 24;

export class ProgressBar {
  readonly #what: string;
  readonly #err: Streams['err'];
  #due = performance.now() + shownAfterMs;
  #shown = false;

  constructor(what: string, err: Streams['err']) {
    this.#what = what;
    this.#err = err;
  }

  /** `part` from 0 to 1; `detail` stands behind the bar. */
  report(part: number, detail = ''): void {
    const now = performance.now();
    if (this.#err.isTTY !== true || now < this.#due) return;
    this.#due = now + redrawnAfterMs;
    this.#shown = true;
    const full = Math.round(Math.min(1, Math.max(0, part)) * barWidth);
    const bar = '█'.repeat(full) + '░'.repeat(barWidth - full);
    const line = `${this.#what} ${bar} ${Math.floor(part * 100)} % ${detail}`;
    this.#err.write(`\r\x1b[K${line.slice(0, (this.#err.columns ?? 80) - 1)}`);
  }

  /** Takes the bar away. */
  end(): void {
    if (this.#shown) this.#err.write('\r\x1b[K');
    this.#shown = false;
  }
}

/** Characters of a schedule in a text: a longer one is for programs. */
export const scheduleShown = 400;

export type Cell = string | number | undefined;

/** Columns that stand under each other; numbers are aligned to the right. */
export function table(rows: readonly (readonly Cell[])[], header?: readonly string[]): string {
  const all = header === undefined ? rows : [header, ...rows];
  const widths: number[] = [];
  for (const row of all) {
    for (const [i, cell] of row.entries()) {
      widths[i] = Math.max(widths[i] ?? 0, String(cell ?? '').length);
    }
  }
  const line = (row: readonly Cell[]): string =>
    row
      .map((cell, i) => {
        const text = String(cell ?? '');
        return typeof cell === 'number' ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
      })
      .join('  ')
      .trimEnd();
  return all.map(line).join('\n');
}

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

/** Thousands apart; the runtime's own way of doing this takes 10 ms to load. */
export const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ' ');

/** The command line that gives the program these arguments. */
export const commandText = (args: readonly string[]): string =>
  ['apicscope', ...args].map(quoted).join(' ');

const quoted = (word: string): string =>
  /^[\w@%+=:,./*-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
