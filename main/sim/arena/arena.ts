/**
 * The buffer that is the machine, and the log of what each step wrote.
 * Nothing here knows KVM. `store` is the only way to change a word.
 */

/** Entries of the log: word, old value, new value. */
export const LOG_STRIDE = 3;

/** How many steps and writes the log has room for before it grows (it doubles). */
const stepsInitial = 8192;
const writesInitial = 8192;

export class Arena {
  readonly words: Uint32Array;
  /** steps closed since the arena was made, or since `resetTo` said otherwise */
  position = 0;

  /** The kept steps: step `firstKept + k` wrote entries `ends[k-1]` to `ends[k]`. */
  firstKept = 0;
  writes = new Uint32Array(writesInitial * LOG_STRIDE);
  /** entries of `writes` in use, times LOG_STRIDE */
  used = 0;
  ends = new Uint32Array(stepsInitial);
  stepsKept = 0;
  /** steps taken back and not performed again: what `redo` can do */
  #undone = 0;

  /** Words read by the current step, if reads are logged; doubles are kept. */
  readsLogged = false;
  reads = new Uint32Array(1024);
  readsUsed = 0;

  constructor(wordCount: number) {
    this.words = new Uint32Array(wordCount);
  }

  load(word: number): number {
    if (this.readsLogged) this.#logRead(word);
    return this.words[word]!;
  }

  store(word: number, value: number): void {
    const used = this.used;
    if (used + LOG_STRIDE > this.writes.length) this.#growWrites();
    const log = this.writes;
    const words = this.words;
    log[used] = word;
    log[used + 1] = words[word]!;
    log[used + 2] = value;
    words[word] = value;
    this.used = used + LOG_STRIDE;
  }

  /** Ends the current step: position grows by one. */
  closeStep(): void {
    if (this.stepsKept === this.ends.length) this.ends = grown(this.ends);
    this.ends[this.stepsKept++] = this.used;
    this.position++;
    this.readsUsed = 0;
    this.#undone = 0;
  }

  /** First entry of kept step `k` (0-based among the kept ones), as an index into `writes`. */
  startOf(k: number): number {
    return k === 0 ? 0 : this.ends[k - 1]!;
  }

  /** Takes the last kept step back; the log entry stays until something else is stored. */
  undo(): void {
    if (this.stepsKept === 0) throw new Error('arena: no step is kept that could be undone');
    if (this.used !== this.ends[this.stepsKept - 1]) throw new Error('arena: undo inside a step');
    const start = this.startOf(--this.stepsKept);
    for (let i = this.used - LOG_STRIDE; i >= start; i -= LOG_STRIDE) {
      this.words[this.writes[i]!] = this.writes[i + 1]!;
    }
    this.used = start;
    this.position--;
    this.#undone++;
  }

  /** Performs again the step that `undo` just took back. */
  redo(): void {
    if (this.#undone === 0) throw new Error('arena: no step was taken back');
    const end = this.ends[this.stepsKept]!;
    for (let i = this.used; i < end; i += LOG_STRIDE) {
      this.words[this.writes[i]!] = this.writes[i + 2]!;
    }
    this.used = end;
    this.stepsKept++;
    this.position++;
    this.#undone--;
  }

  /** Forgets the log; the state and the position stay. Call it between steps only. */
  dropLog(): void {
    this.firstKept = this.position;
    this.stepsKept = 0;
    this.used = 0;
    this.#undone = 0;
  }

  #logRead(word: number): void {
    if (this.readsUsed === this.reads.length) this.reads = grown(this.reads);
    this.reads[this.readsUsed++] = word;
  }

  #growWrites(): void {
    this.writes = grown(this.writes);
  }
}

const grown = (old: Uint32Array): Uint32Array<ArrayBuffer> => {
  const next = new Uint32Array(old.length * 2);
  next.set(old);
  return next;
};
