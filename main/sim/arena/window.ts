/**
 * A window: a keyframe and up to 4,096 steps after it, and how it is read from its bytes.
 * Pure, so that both the main process and the window on the screen read it. Every byte that is
 * decoded is taken for foreign: a doctored window is an error.
 */
import { LOG_STRIDE } from './arena.ts';

/** Steps of a full window. */
export const windowSteps = 4096;
/** A window ends early once it holds so many writes, so that its size is bounded. */
export const windowWritesMax = 1 << 19;
/** No window has more bytes than this; what claims to is not one. */
export const windowBytesMax = 1 << 24;
/** Positions are 32-bit numbers. */
export const positionMax = 0xffff_ffff;

export const codecVersion = 1;

/** Decoded steps `first` to `first + count − 1`. */
export interface Window {
  readonly first: number;
  readonly count: number;
  /** the arena at position `first` */
  readonly keyframe: Uint32Array;
  /** for each step, the index of the actor that took it */
  readonly actors: Uint8Array;
  /** for each step, where its entries in `writes` end */
  readonly writeEnds: Uint32Array;
  /** word, old value, new value */
  readonly writes: Uint32Array;
}

/** Index into `writes` of the first entry after `position`. */
export const entryAt = (window: Window, position: number): number =>
  position <= window.first ? 0 : window.writeEnds[position - window.first - 1]!;

/** Does the window hold the state at `position`? Its last position is the next window's first. */
export const holdsPosition = (window: Window, position: number): boolean =>
  position >= window.first && position <= window.first + window.count;

/** Moves `words` from the state at one position of the window to that at another. */
export const move = (window: Window, from: number, to: number, words: Uint32Array): void => {
  if (!holdsPosition(window, from) || !holdsPosition(window, to)) {
    throw new Error(`window: cannot move from position ${from} to ${to} inside ${spanOf(window)}`);
  }
  const { writes } = window;
  const start = entryAt(window, from);
  const end = entryAt(window, to);
  for (let i = start; i < end; i += LOG_STRIDE) words[writes[i]!] = writes[i + 2]!;
  for (let i = start - LOG_STRIDE; i >= end; i -= LOG_STRIDE) words[writes[i]!] = writes[i + 1]!;
};

/** Fills `into` with the state at `position`. */
export const stateAt = (window: Window, position: number, into: Uint32Array): void => {
  into.set(window.keyframe);
  move(window, window.first, position, into);
};

const spanOf = (window: { readonly first: number; readonly count: number }): string =>
  `positions ${window.first} to ${window.first + window.count}`;

const unzigzag = (from: number, coded: number): number =>
  (from + ((coded >>> 1) ^ -(coded & 1))) >>> 0;

const damaged = (what: string): Error => new Error(`a window of the recording is damaged: ${what}`);

class Reader {
  readonly bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Reads a number; it must not exceed `max`. */
  number(max: number, what: string): number {
    const { bytes } = this;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 5; i++) {
      const byte = bytes[this.at++];
      if (byte === undefined) throw damaged(`it ends inside its ${what}`);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > max) throw damaged(`${value} is too large for its ${what}`);
        return value;
      }
      scale *= 128;
    }
    throw damaged(`a number of its ${what} does not end`);
  }

  /** An ascending list of `count` words below `wordCount`. */
  gaps(count: number, wordCount: number, what: string): Uint32Array {
    const list = new Uint32Array(count);
    let next = 0;
    for (let i = 0; i < count; i++) {
      const word = next + this.number(wordCount, what);
      if (word >= wordCount) throw damaged(`word ${word} is outside the machine`);
      list[i] = word;
      next = word + 1;
    }
    return list;
  }

  take(count: number, what: string): Uint8Array {
    if (count > this.bytes.length - this.at) throw damaged(`it ends inside its ${what}`);
    const part = this.bytes.slice(this.at, this.at + count);
    this.at += count;
    return part;
  }
}

const keyframeFrom = (reader: Reader, boot: Uint32Array): Uint32Array => {
  const count = reader.number(boot.length, 'keyframe');
  const words = reader.gaps(count, boot.length, 'keyframe');
  const keyframe = boot.slice();
  for (const word of words) {
    keyframe[word] = unzigzag(boot[word]!, reader.number(0xffff_ffff, 'keyframe'));
  }
  return keyframe;
};

/** The steps of each actor, one actor after the other: the order of the columns of writes. */
export const stepsByActor = (actors: Uint8Array, count: number): Uint16Array => {
  const next = new Uint16Array(257);
  for (let k = 0; k < count; k++) next[actors[k]! + 1]!++;
  for (let actor = 1; actor < next.length; actor++) next[actor]! += next[actor - 1]!;
  const order = new Uint16Array(count);
  for (let k = 0; k < count; k++) order[next[actors[k]!]!++] = k;
  return order;
};

const endsFrom = (reader: Reader, order: Uint16Array): Uint32Array => {
  const ends = new Uint32Array(order.length);
  // A write takes two bytes or more: a larger sum cannot be true, and is not allocated.
  const writesMax = reader.bytes.length >>> 1;
  for (const k of order) ends[k] = reader.number(writesMax, 'write counts');
  let sum = 0;
  for (let k = 0; k < ends.length; k++) {
    sum += ends[k]!;
    if (sum > writesMax) throw damaged('it claims more writes than it has');
    ends[k] = sum * LOG_STRIDE;
  }
  return ends;
};

const wordsInto = (
  writes: Uint32Array,
  reader: Reader,
  { ends, order, wordCount }: { ends: Uint32Array; order: Uint16Array; wordCount: number },
): void => {
  const most = Math.min(wordCount, writes.length / LOG_STRIDE);
  const dictionary = reader.gaps(reader.number(most, 'list of words'), wordCount, 'list of words');
  for (const k of order) {
    for (let i = k === 0 ? 0 : ends[k - 1]!; i < ends[k]!; i += LOG_STRIDE) {
      const word = dictionary[reader.number(dictionary.length, 'writes')];
      if (word === undefined) throw damaged('a write names a word that it does not list');
      writes[i] = word;
    }
  }
};

const writesFrom = (
  reader: Reader,
  keyframe: Uint32Array,
  { ends, order }: { ends: Uint32Array; order: Uint16Array },
): Uint32Array => {
  const writes = new Uint32Array(ends[ends.length - 1] ?? 0);
  wordsInto(writes, reader, { ends, order, wordCount: keyframe.length });
  for (const k of order) {
    for (let i = k === 0 ? 0 : ends[k - 1]!; i < ends[k]!; i += LOG_STRIDE) {
      writes[i + 2] = reader.number(0xffff_ffff, 'values');
    }
  }
  // Actors write the same words: what a write found is known only in the order of the steps.
  const state = keyframe.slice();
  for (let i = 0; i < writes.length; i += LOG_STRIDE) {
    const word = writes[i]!;
    const old = state[word]!;
    const value = unzigzag(old, writes[i + 2]!);
    writes[i + 1] = old;
    writes[i + 2] = value;
    state[word] = value;
  }
  return writes;
};

/** Decodes what `WindowEncoder` made of a run with the same boot image. */
export const decodeWindow = (bytes: Uint8Array, boot: Uint32Array): Window => {
  if (bytes.length > windowBytesMax) throw damaged(`${bytes.length} bytes are too many`);
  const reader = new Reader(bytes);
  if (reader.number(0xff, 'version') !== codecVersion) throw damaged('its version is unknown');
  const first = reader.number(positionMax - windowSteps, 'first position');
  const count = reader.number(windowSteps, 'number of steps');
  if (reader.number(positionMax, 'size of the machine') !== boot.length) {
    throw damaged('its machine has another size');
  }
  const keyframe = keyframeFrom(reader, boot);
  const actors = reader.take(count, 'actors');
  const order = stepsByActor(actors, count);
  const writeEnds = endsFrom(reader, order);
  const writes = writesFrom(reader, keyframe, { ends: writeEnds, order });
  if (reader.at !== bytes.length) throw damaged(`${bytes.length - reader.at} bytes follow its end`);
  return { first, count, keyframe, actors, writeEnds, writes };
};
