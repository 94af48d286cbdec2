/** Checksums of rows, and the two short columns of a window: which words it writes, who ran. */
import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib';
import { demand } from './failure.ts';

/** Bytes of the longest value of `meta`. */
export const metaBytesMax = 1 << 25;

export type Cell = string | number | Uint8Array;

/** Checksum of the cells of a row; where one cell ends and the next begins matters. */
export const rowCrc = (...cells: readonly Cell[]): number => {
  let crc = 0;
  for (const cell of cells) {
    if (cell instanceof Uint8Array) crc = crc32(cell, crc32(`bytes ${cell.length}:`, crc));
    else crc = crc32(`${typeof cell} ${String(cell).length}:${cell}`, crc);
  }
  return crc;
};

/** Level 1 is three times as fast as the default and loses a fifth of the size. */
export const deflate = (bytes: Uint8Array): Uint8Array => deflateRawSync(bytes, { level: 1 });

/**
 * Inflates at most `max` bytes, whatever the input claims. The result has a buffer of its own:
 * a `Buffer` of Node may be a part of a larger one, and its `slice` does not copy.
 */
export const inflate = (bytes: Uint8Array, max: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(inflateRawSync(bytes, { maxOutputLength: Math.max(max, 1) }));

/** An ascending list of words, as the gaps between them. */
export const packWords = (words: Uint32Array): Uint8Array => {
  const out = new Uint8Array(words.length * 5);
  let at = 0;
  let previous = -1;
  for (const word of words) {
    let gap = word - previous - 1;
    for (; gap > 0x7f; gap >>>= 7) out[at++] = (gap & 0x7f) | 0x80;
    out[at++] = gap;
    previous = word;
  }
  return out.subarray(0, at);
};

/** Calls `visit` for each word of a packed list; each is below `wordCount`. */
export const eachPackedWord = (
  packed: Uint8Array,
  wordCount: number,
  visit: (word: number) => void,
): void => {
  let previous = -1;
  let gap = 0;
  let scale = 1;
  for (const byte of packed) {
    gap += (byte & 0x7f) * scale;
    scale *= 128;
    demand(scale <= 2 ** 35, 'the list of words of a window is damaged');
    if (byte >= 0x80) continue;
    previous += gap + 1;
    demand(previous < wordCount, `word ${previous} of a window is outside the machine`);
    visit(previous);
    gap = 0;
    scale = 1;
  }
  demand(scale === 1, 'the list of words of a window ends inside a word');
};

/** Who ran at which level, for each step: actors first, then levels. */
export const packLanes = (lanes: Uint8Array): Uint8Array => deflate(lanes);

export const unpackLanes = (packed: Uint8Array, count: number): Uint8Array => {
  const lanes = inflate(packed, count * 2);
  demand(lanes.length === count * 2, 'the actors of a window are not as many as its steps');
  return lanes;
};
