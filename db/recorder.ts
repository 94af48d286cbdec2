/**
 * Records a run: collects its steps and commits them a window at a time, and at least every 100 ms.
 * The arena's log is the only buffer; a step costs an entry in one array of bytes.
 */
import type { Arena } from '#sim/arena/arena.ts';
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { positionMax, windowSteps, windowWritesMax } from '#sim/arena/window.ts';
import { sourceStart, WindowEncoder, type WindowSource } from '#sim/arena/window_encoder.ts';
import { assert, demand, writeError } from './failure.ts';
import {
  actorsMax,
  type Finding,
  type RecordingEnd,
  type RecordingHeader,
  type SiteEntry,
} from './header.ts';
import { LaneReader } from './lanes.ts';
import { type Commit, RecordingWriter } from './recording_writer.ts';
import { deflate, packLanes, packWords } from './rows.ts';
import { targetFor } from './target.ts';

/**
 * Wall time after which steps are committed even if their window is not full. A kill may cost the
 * steps of 250 ms: the rest is for the commit itself on a busy computer. Fast runs never wait so
 * long for a full window, so this costs only those that have time.
 */
const commitMilliseconds = 100;
/** The clock is read once in so many steps; a power of two. */
const clockSteps = 64;

export interface RecorderOptions {
  /** where the recording will stand */
  readonly path: string;
  readonly header: RecordingHeader;
  /** at position 0, between steps; its words are the boot image */
  readonly arena: Arena;
  /** what is known of a site that ran */
  readonly siteOf: (id: number) => SiteEntry | undefined;
  /** the list that the checks append to */
  readonly findings?: readonly Finding[];
  /** Somebody else needs the arena's log: it is not dropped when a window is full. */
  readonly keepLog?: boolean;
  /** milliseconds; a test may bring its own clock */
  readonly now?: () => number;
}

/**
 * A watcher of a run; the last one, because it drops the log that the others read.
 * If writing fails, what was written is removed and a `RecordingError` says why.
 */
export class Recorder {
  readonly #path: string;
  readonly #arena: Arena;
  readonly #keepLog: boolean;
  readonly #findings: readonly Finding[];
  readonly #now: () => number;
  readonly #writer: RecordingWriter;
  readonly #encoder: WindowEncoder;
  readonly #lanes: LaneReader;
  readonly #siteOf: (id: number) => SiteEntry | undefined;

  /** the window in work: its number, its steps so far, and the state before them */
  #window = 0;
  #first = 0;
  #count = 0;
  readonly #keyframe: Uint32Array;
  readonly #actors = new Uint8Array(windowSteps);
  #firstEnd = 0;
  #logStart = 0;

  #stepsCommitted = 0;
  #findingsCommitted = 0;
  #committedAt: number;
  #open = true;

  constructor(options: RecorderOptions) {
    const { arena, header } = options;
    assert(arena.position === 0, 'a recording begins at position 0');
    assert(header.actors.length <= actorsMax, `there are more than ${actorsMax} actors`);
    this.#path = options.path;
    this.#arena = arena;
    this.#keepLog = options.keepLog ?? false;
    this.#findings = options.findings ?? [];
    this.#now = options.now ?? (() => performance.now());
    this.#siteOf = options.siteOf;
    // What building the machine wrote is in the boot image, and no part of the first step.
    arena.dropLog();
    this.#keyframe = arena.words.slice();
    const boot = this.#keyframe.slice();
    this.#encoder = new WindowEncoder(boot);
    this.#lanes = new LaneReader(header.layout, boot);
    try {
      this.#writer = new RecordingWriter(targetFor(options.path), header, boot);
    } catch (error) {
      throw writeError(error, options.path);
    }
    this.#committedAt = this.#now();
  }

  /** Steps that a kill at this moment would not lose. */
  get stepsCommitted(): number {
    return this.#stepsCommitted;
  }

  /** After each step of the run. */
  stepClosed(_machine: unknown, actor: number): void {
    this.#actors[this.#count++] = actor;
    if (
      this.#count === windowSteps ||
      this.#arena.used - this.#logStart >= windowWritesMax * LOG_STRIDE
    ) {
      this.#commitFull();
    } else if (
      (this.#count & (clockSteps - 1)) === 0 &&
      this.#now() - this.#committedAt >= commitMilliseconds
    ) {
      this.flush();
    }
  }

  runEnded(): void {
    this.flush();
  }

  /** Commits what is not yet committed; cheap if there is nothing. For a timer of the host. */
  flush(): void {
    this.#committedAt = this.#now();
    const nothing =
      this.#stepsCommitted === this.#first + this.#count &&
      this.#findingsCommitted === this.#findings.length;
    if (this.#open && !nothing) this.#commit(undefined);
  }

  /** Commits the rest and how the run ended, and makes one plain file of the recording. */
  finish(end: RecordingEnd): void {
    assert(this.#open, 'the recording has already ended');
    this.#commit(end);
    this.#guarded(() => this.#writer.finish());
    this.#open = false;
  }

  /** Ends without a recording: what was written is removed. */
  abandon(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#writer.remove();
  }

  #commitFull(): void {
    demand(
      this.#first + this.#count <= positionMax - windowSteps,
      `${this.#path}: the run has more steps than a recording can hold; lower its bound`,
    );
    this.#commit(undefined);
    this.#window++;
    this.#first += this.#count;
    this.#count = 0;
    this.#keyframe.set(this.#arena.words);
    if (!this.#keepLog) this.#arena.dropLog();
    this.#firstEnd = this.#arena.stepsKept;
    this.#logStart = this.#arena.used;
    this.#committedAt = this.#now();
  }

  #commit(end: RecordingEnd | undefined): void {
    assert(this.#open, 'the recording has already ended');
    assert(
      this.#arena.position === this.#first + this.#count,
      `the run is at position ${this.#arena.position}, not at ${this.#first + this.#count}`,
    );
    this.#guarded(() => this.#writer.commit(this.#collect(end)));
    this.#stepsCommitted = this.#first + this.#count;
    this.#findingsCommitted = this.#findings.length;
  }

  #collect(end: RecordingEnd | undefined): Commit {
    const source: WindowSource = {
      first: this.#first,
      count: this.#count,
      keyframe: this.#keyframe,
      actors: this.#actors,
      writes: this.#arena.writes,
      ends: this.#arena.ends,
      firstEnd: this.#firstEnd,
    };
    assert(sourceStart(source) === this.#logStart, 'somebody else dropped the log of the arena');
    const findingsBefore = this.#findingsCommitted;
    // A window without a step says nothing; a run that took none has a boot image only.
    const window =
      this.#count === 0
        ? undefined
        : {
            id: this.#window,
            first: this.#first,
            count: this.#count,
            body: deflate(this.#encoder.encode(source)),
            words: packWords(this.#encoder.words),
            lanes: packLanes(this.#lanes.read(source)),
          };
    return {
      window,
      sites: this.#newSites(),
      findings: this.#findings.slice(findingsBefore),
      findingsBefore,
      end,
    };
  }

  #newSites(): SiteEntry[] {
    return this.#lanes.takeNewSites().flatMap((id) => this.#siteOf(id) ?? []);
  }

  /** A failed write ends the recording and leaves nothing half written. */
  #guarded(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.abandon();
      throw writeError(error, this.#path);
    }
  }
}
