/** What the parts of the compiler share: reporting, numbers and names. */
import { instead, type Problem, problemAt, type Span } from '../diagnostics.ts';
import type { Word } from '../parse/tree.ts';

export type Report = (span: Span, message: string) => void;

export const reportTo =
  (problems: Problem[]): Report =>
  (span, message) => {
    problems.push(problemAt(span, message));
  };

const numberPattern = /^(?:0[xX][0-9a-fA-F]+|[0-9]+)$/;

/** The value of a hexadecimal or decimal number, at any width. */
export const bigintOf = (text: string): bigint | undefined =>
  numberPattern.test(text) && text.length <= 100 ? BigInt(text) : undefined;

export interface Range {
  readonly min: number;
  readonly max: number;
  /** what the number is, as the subject of a sentence */
  readonly what: string;
  readonly isHex?: boolean;
}

const shown = (value: number, isHex: boolean | undefined): string =>
  isHex === true ? `0x${value.toString(16)}` : String(value);

/** The number, if it is one and lies in its range; says what is wrong otherwise. */
export const numberIn = (word: Word, range: Range, report: Report): number | undefined => {
  const value = bigintOf(word.text);
  const { min, max, what, isHex } = range;
  if (value === undefined) {
    report(word, `"${word.text}" is no number; ${what} is written as 10 or 0xa`);
    return undefined;
  }
  if (value < BigInt(min) || value > BigInt(max)) {
    report(
      word,
      `${what} is from ${shown(min, isHex)} to ${shown(max, isHex)}, ` + `not ${word.text}`,
    );
    return undefined;
  }
  return Number(value);
};

/** Is the name one of those? Says what was probably meant otherwise. An empty list is unknown. */
export const isKnown = (
  word: Word,
  what: string,
  names: readonly string[],
  report: Report,
): boolean => {
  if (names.length === 0 || names.includes(word.text)) return true;
  report(word, `there is no ${what} "${word.text}"; ${instead(word.text, names)}`);
  return false;
};
