/**
 * An open recording as the queries see it: states, decoded windows, and which windows write a word.
 * Decoded windows are kept while they are likely to be asked for again.
 */
import type Database from 'better-sqlite3';
import { LeafIndex } from '#sim/arena/leaves.ts';
import { decodeWindow, stateAt, type Window, windowBytesMax } from '#sim/arena/window.ts';
import { type ActorWords, actorWordsOf } from '#sim/arena/window_sites.ts';
import { demand, RecordingError, readError } from './failure.ts';
import type { Finding, RecordingEnd, RecordingHeader, SiteEntry } from './header.ts';
import { type OpenFile, openFile } from './open.ts';
import { eachPackedWord, inflate, rowCrc, unpackLanes } from './rows.ts';
import { emptyWindow, readSpans, type Span } from './spans.ts';
import type { Json } from './stored_layout.ts';
import { blob, readBoot, readFindings, readHeader, readSites } from './stored_rows.ts';

/** Encoded steps `first` to `first + count − 1`; `decodeWindow` reads them. */
export interface WindowBytes {
  readonly first: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** Bytes of decoded windows that are kept. */
const cacheBytes = 96 << 20;

export class Reader {
  readonly path: string;
  readonly bytes: number;
  readonly header: RecordingHeader;
  readonly end: RecordingEnd | undefined;
  readonly sites: readonly SiteEntry[];
  readonly findings: readonly Finding[];
  /** the arena at position 0; windows are decoded against it */
  readonly boot: Uint32Array;
  readonly steps: number;
  readonly actorWords: ActorWords;
  /** windows decoded so far; those found in the cache are not counted */
  windowsOpened = 0;

  readonly #file: OpenFile;
  readonly #spans: readonly Span[];
  readonly #cache = new Map<number, Window>();
  #cached = 0;
  readonly #body: Database.Statement;
  readonly #index: Database.Statement;
  #leafIndex: LeafIndex | undefined;
  #siteById: Map<number, SiteEntry> | undefined;
  #postings: Map<number, number[]> | undefined;

  constructor(path: string) {
    this.path = path;
    this.#file = openFile(path);
    const { db } = this.#file;
    this.bytes = this.#file.bytes;
    try {
      const { header, end } = readHeader(db);
      this.header = header;
      this.end = end;
      this.actorWords = actorWordsOf(header.layout);
      this.boot = readBoot(db, header.layout.bytes >>> 2);
      this.#spans = readSpans(db);
      const last = this.#spans.at(-1);
      this.steps = last === undefined ? 0 : last.first + last.count;
      this.sites = readSites(db);
      this.findings = readFindings(db, this.steps);
      this.#body = db.prepare('SELECT body, body_crc FROM "window" WHERE id = ?');
      this.#index = db.prepare('SELECT words, lanes, index_crc FROM "window" WHERE id = ?');
      // The number of steps follows from the last window alone: nothing else confirms it.
      if (last !== undefined) this.window(last.first);
      this.windowsOpened = 0;
    } catch (error) {
      this.#file.close();
      throw named(error, path);
    }
  }

  close(): void {
    this.#cache.clear();
    this.#file.close();
  }

  /** Places of the machine by word. */
  get leafIndex(): LeafIndex {
    this.#leafIndex ??= new LeafIndex(this.header.layout);
    return this.#leafIndex;
  }

  site(id: number): SiteEntry | undefined {
    this.#siteById ??= new Map(this.sites.map((site) => [site.id, site]));
    return this.#siteById.get(id);
  }

  /** First step and number of steps of a window, without opening it. */
  spanOf(id: number): { readonly first: number; readonly count: number } {
    return this.#spans[id] ?? { first: 0, count: 0 };
  }

  get windowCount(): number {
    return Math.max(1, this.#spans.length);
  }

  /** Number of the window that holds step `position`; the last one for the last position. */
  windowIdAt(position: number): number {
    this.demandPosition(position);
    let low = 0;
    let high = this.#spans.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#spans[middle]!.first <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  demandPosition(position: number): void {
    demand(
      Number.isInteger(position) && position >= 0 && position <= this.steps,
      `${this.path}: there is no position ${position}; they go from 0 to ${this.steps}`,
    );
  }

  demandStep(step: number): void {
    demand(
      Number.isInteger(step) && step >= 0 && step < this.steps,
      `${this.path}: there is no step ${step}; ` +
        (this.steps === 0 ? 'the run took none' : `they go from 0 to ${this.steps - 1}`),
    );
  }

  /** The undeflated bytes of the window that holds `position`. */
  windowBytes(position: number): WindowBytes {
    const span = this.#spans[this.windowIdAt(position)];
    if (span === undefined) return { first: 0, count: 0, bytes: emptyWindow(this.boot) };
    return { first: span.first, count: span.count, bytes: this.#bytesOf(span) };
  }

  /** The decoded window that holds `position`. Do not change it. */
  window(position: number): Window {
    return this.windowById(this.windowIdAt(position));
  }

  windowById(id: number): Window {
    const known = this.#cache.get(id);
    if (known !== undefined) {
      // The newest stands last: what is dropped first was not used for longest.
      this.#cache.delete(id);
      this.#cache.set(id, known);
      return known;
    }
    this.windowsOpened++;
    const window = this.#decode(id);
    this.#keep(id, window);
    return window;
  }

  /** The state at `position`, in an array of the caller's own. */
  stateAt(position: number): Uint32Array {
    const into = new Uint32Array(this.boot.length);
    stateAt(this.window(position), position, into);
    return into;
  }

  /** Actors of the steps of a window, then their levels. */
  lanes(id: number): {
    readonly first: number;
    readonly count: number;
    readonly lanes: Uint8Array;
  } {
    const span = this.#spans[id];
    if (span === undefined) return { first: 0, count: 0, lanes: new Uint8Array(0) };
    try {
      const lanes = unpackLanes(this.#indexRow(span).lanes, span.count);
      for (let k = 0; k < span.count; k++) {
        demand(
          lanes[k]! < this.header.actors.length && lanes[span.count + k]! <= 2,
          `step ${span.first + k} has no actor`,
        );
      }
      return { first: span.first, count: span.count, lanes };
    } catch (error) {
      throw named(error, this.path);
    }
  }

  /** Numbers of the windows that write one of `words`, ascending. */
  windowsWriting(words: Iterable<number>): number[] {
    this.#postings ??= this.#readPostings();
    const ids = new Set<number>();
    for (const word of words) for (const id of this.#postings.get(word) ?? []) ids.add(id);
    return [...ids].sort((a, b) => a - b);
  }

  #bytesOf(span: Span): Uint8Array {
    try {
      const row = this.#body.get(span.id) as Json | undefined;
      const body = blob(row?.['body'], `window ${span.id}`);
      demand(
        rowCrc(span.id, span.first, span.count, body) === row?.['body_crc'],
        `the checksum of window ${span.id} is wrong`,
      );
      return inflate(body, windowBytesMax);
    } catch (error) {
      throw named(error, this.path);
    }
  }

  #decode(id: number): Window {
    const span = this.#spans[id] ?? { id: 0, first: 0, count: 0 };
    const bytes = this.#spans.length === 0 ? emptyWindow(this.boot) : this.#bytesOf(span);
    try {
      const window = decodeWindow(bytes, this.boot);
      demand(
        window.first === span.first && window.count === span.count,
        `window ${id} holds other steps than it says`,
      );
      demand(
        window.actors.every((actor) => actor < this.header.actors.length),
        `a step of window ${id} has no actor`,
      );
      return window;
    } catch (error) {
      throw named(error, this.path);
    }
  }

  #keep(id: number, window: Window): void {
    this.#cache.set(id, window);
    this.#cached += sizeOf(window);
    for (const [oldest, old] of this.#cache) {
      if (this.#cached <= cacheBytes || oldest === id) break;
      this.#cache.delete(oldest);
      this.#cached -= sizeOf(old);
    }
  }

  #indexRow(span: Span): { words: Uint8Array; lanes: Uint8Array } {
    const row = this.#index.get(span.id) as Json | undefined;
    const words = blob(row?.['words'], `window ${span.id}`);
    const lanes = blob(row?.['lanes'], `window ${span.id}`);
    demand(
      rowCrc(span.id, span.first, span.count, words, lanes) === row?.['index_crc'],
      `the checksum of the index of window ${span.id} is wrong`,
    );
    return { words, lanes };
  }

  /** Turns the lists of words of the windows into lists of windows of the words. */
  #readPostings(): Map<number, number[]> {
    const postings = new Map<number, number[]>();
    try {
      for (const span of this.#spans) {
        eachPackedWord(this.#indexRow(span).words, this.boot.length, (word) => {
          const ids = postings.get(word);
          if (ids === undefined) postings.set(word, [span.id]);
          else ids.push(span.id);
        });
      }
    } catch (error) {
      throw named(error, this.path);
    }
    return postings;
  }
}

/** Sentences from inside get the file's name. */
const named = (error: unknown, path: string): unknown =>
  error instanceof RecordingError && !error.message.startsWith(path)
    ? new RecordingError(`${path}: ${error.message}; record the scenario again`)
    : readError(error, path);

const sizeOf = (window: Window): number =>
  window.keyframe.byteLength + window.writes.byteLength + window.writeEnds.byteLength;
