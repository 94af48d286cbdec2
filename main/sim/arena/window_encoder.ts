/**
 * Writes windows: columns of bytes in which equal things stand together, so that a cheap
 * compressor finds them. The writes stand actor by actor: what an actor does again is then a long
 * repetition, however the actors took turns. Nothing is allocated for a step.
 */
import { LOG_STRIDE } from './arena.ts';
import { codecVersion, stepsByActor } from './window.ts';

/** Where the entries of step `k` begin. */
const startOf = (ends: Uint32Array, k: number): number => (k === 0 ? 0 : ends[k - 1]!);

/** Steps to encode: part of the arena's log, and the state before them. */
export interface WindowSource {
  readonly first: number;
  readonly count: number;
  readonly keyframe: Uint32Array;
  /** at least `count` long */
  readonly actors: Uint8Array;
  readonly writes: Uint32Array;
  readonly ends: Uint32Array;
  /** index in `ends` of the first step */
  readonly firstEnd: number;
}

/** Index into `writes` of the source's first entry. */
export const sourceStart = (source: WindowSource): number => startOf(source.ends, source.firstEnd);

const sourceEnd = (source: WindowSource): number =>
  source.count === 0 ? sourceStart(source) : source.ends[source.firstEnd + source.count - 1]!;

/** LEB128: seven bits a byte, lowest first. Gives the place after the number. */
const putVarint = (out: Uint8Array, at: number, value: number): number => {
  let rest = value;
  let next = at;
  while (rest > 0x7f) {
    out[next++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[next++] = rest;
  return next;
};

/** Small differences of either sign become small numbers. */
const zigzag = (from: number, to: number): number => {
  const difference = (to - from) | 0;
  return ((difference << 1) ^ (difference >> 31)) >>> 0;
};

/** Writes an ascending list as the gaps between its members. */
const putGaps = (out: Uint8Array, start: number, list: Uint32Array): number => {
  let at = start;
  let previous = -1;
  for (let i = 0; i < list.length; i++) {
    const word = list[i]!;
    at = putVarint(out, at, word - previous - 1);
    previous = word;
  }
  return at;
};

/** Encodes windows of one run; its buffers are used again and again. */
export class WindowEncoder {
  /** after `encode`: the words that the window writes, ascending; valid until the next call */
  words: Uint32Array = new Uint32Array(0);

  readonly #boot: Uint32Array;
  /** for each word, its place in `words` plus one; all 0 between calls */
  readonly #slots: Uint32Array;
  readonly #list: Uint32Array;
  #out = new Uint8Array(1 << 16);

  constructor(boot: Uint32Array) {
    this.#boot = boot;
    this.#slots = new Uint32Array(boot.length);
    this.#list = new Uint32Array(boot.length);
  }

  /** The window's bytes; valid until the next call. */
  encode(source: WindowSource): Uint8Array {
    const start = sourceStart(source);
    const end = sourceEnd(source);
    const writeCount = (end - start) / LOG_STRIDE;
    const changed = this.#changedWords(source.keyframe);
    this.#reserve(
      64 +
        10 * changed.length +
        6 * source.count +
        5 * Math.min(writeCount, this.#boot.length) +
        10 * writeCount,
    );
    const out = this.#out;
    out[0] = codecVersion;
    let at = putVarint(out, 1, source.first);
    at = putVarint(out, at, source.count);
    at = putVarint(out, at, this.#boot.length);
    at = this.#putKeyframe(at, changed, source.keyframe);
    out.set(source.actors.subarray(0, source.count), at);
    const order = stepsByActor(source.actors, source.count);
    at = this.#putCounts(at + source.count, source, order);
    this.#collectWords(source.writes, start, end);
    at = putVarint(out, at, this.words.length);
    at = putGaps(out, at, this.words);
    at = this.#putWords(at, source, order);
    at = this.#putValues(at, source, order);
    for (const word of this.words) this.#slots[word] = 0;
    return out.subarray(0, at);
  }

  #reserve(bytes: number): void {
    if (this.#out.length < bytes) this.#out = new Uint8Array(bytes * 2);
  }

  #changedWords(keyframe: Uint32Array): Uint32Array {
    const boot = this.#boot;
    const list = this.#list;
    let used = 0;
    for (let word = 0; word < boot.length; word++) {
      if (keyframe[word] !== boot[word]) list[used++] = word;
    }
    return list.subarray(0, used);
  }

  #putKeyframe(start: number, changed: Uint32Array, keyframe: Uint32Array): number {
    const out = this.#out;
    let at = putVarint(out, start, changed.length);
    at = putGaps(out, at, changed);
    for (let i = 0; i < changed.length; i++) {
      const word = changed[i]!;
      at = putVarint(out, at, zigzag(this.#boot[word]!, keyframe[word]!));
    }
    return at;
  }

  #putCounts(start: number, source: WindowSource, order: Uint16Array): number {
    let at = start;
    for (let j = 0; j < order.length; j++) {
      const k = source.firstEnd + order[j]!;
      at = putVarint(this.#out, at, (source.ends[k]! - startOf(source.ends, k)) / LOG_STRIDE);
    }
    return at;
  }

  #collectWords(writes: Uint32Array, start: number, end: number): void {
    const slots = this.#slots;
    const list = this.#list;
    let used = 0;
    for (let i = start; i < end; i += LOG_STRIDE) {
      const word = writes[i]!;
      if (slots[word] !== 0) continue;
      slots[word] = 1;
      list[used++] = word;
    }
    this.words = list.subarray(0, used).sort();
    for (let i = 0; i < used; i++) slots[list[i]!] = i + 1;
  }

  #putWords(start: number, source: WindowSource, order: Uint16Array): number {
    const { writes, ends, firstEnd } = source;
    const out = this.#out;
    const slots = this.#slots;
    let at = start;
    for (let j = 0; j < order.length; j++) {
      const k = firstEnd + order[j]!;
      const end = ends[k]!;
      for (let i = startOf(ends, k); i < end; i += LOG_STRIDE) {
        at = putVarint(out, at, slots[writes[i]!]! - 1);
      }
    }
    return at;
  }

  #putValues(start: number, source: WindowSource, order: Uint16Array): number {
    const { writes, ends, firstEnd } = source;
    const out = this.#out;
    let at = start;
    for (let j = 0; j < order.length; j++) {
      const k = firstEnd + order[j]!;
      const end = ends[k]!;
      for (let i = startOf(ends, k); i < end; i += LOG_STRIDE) {
        at = putVarint(out, at, zigzag(writes[i + 1]!, writes[i + 2]!));
      }
    }
    return at;
  }
}
