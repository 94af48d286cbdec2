/** Strings: what stands between the quotes, and where each of its characters came from. */
import type { IToken } from 'chevrotain';
import { spanning } from '../diagnostics.ts';
import { LongString, OpenLongString } from './tokens.ts';
import type { Text, TextPiece } from './tree.ts';

const contents = (token: IToken): { start: number; end: number } => {
  const { image, startOffset, tokenType } = token;
  const long = tokenType === LongString || tokenType === OpenLongString;
  const quote = long ? '"""' : '"';
  const closed = image.length >= 2 * quote.length && image.endsWith(quote);
  return {
    start: startOffset + quote.length,
    end: startOffset + image.length - (closed ? quote.length : 0),
  };
};

/** Strings side by side are one, joined by a space. */
export const joined = (tokens: readonly IToken[]): Text => {
  const pieces: TextPiece[] = [];
  let text = '';
  for (const token of tokens) {
    const { start, end } = contents(token);
    if (pieces.length > 0) text += ' ';
    pieces.push({ offset: start, length: end - start, at: text.length });
    text += token.image.slice(start - token.startOffset, end - token.startOffset);
  }
  const first = tokens[0]!;
  const last = tokens.at(-1)!;
  const span = spanning(
    { offset: first.startOffset, length: first.image.length },
    { offset: last.startOffset, length: last.image.length },
  );
  return { text, pieces, ...span };
};

/** Without the indentation that all lines share, and without empty lines at either end. */
export const dedented = (text: string): string => {
  const lines = text.replaceAll('\r', '').split('\n');
  const indents = lines
    .slice(1)
    .filter((line) => line.trim() !== '')
    .map((line) => line.length - line.trimStart().length);
  const indent = indents.reduce((least, n) => Math.min(least, n), Number.POSITIVE_INFINITY);
  return lines
    .map((line, i) => (i === 0 ? line.trim() : line.slice(indent).trimEnd()))
    .join('\n')
    .trim();
};

/** The place in the file of a stretch of the joined text. */
export const placeIn = (
  text: Text,
  index: number,
  length: number,
): { offset: number; length: number } => {
  const piece = text.pieces.findLast((p) => p.at <= index) ?? text.pieces[0]!;
  return { offset: piece.offset + (index - piece.at), length };
};
