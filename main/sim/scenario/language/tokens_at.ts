/** The words of a text around a place in it. */
import type { IToken } from 'chevrotain';
import { spanOfToken } from '../parse/sections.ts';
import { Junk, scenarioLexer } from '../parse/tokens.ts';
import { parseLimits } from '../parse.ts';

export interface Around {
  /** tokens that end before the place, or before the word at it */
  readonly before: readonly IToken[];
  /** the word that the place is in, or right behind */
  readonly word: IToken | undefined;
  /** the place is inside a text or a comment */
  readonly isQuoted: boolean;
}

export interface Lexed {
  readonly tokens: readonly IToken[];
  readonly comments: readonly IToken[];
}

export const lex = (text: string): Lexed => {
  if (text.length > parseLimits.characters) return { tokens: [], comments: [] };
  const { tokens, groups } = scenarioLexer().tokenize(text);
  const useful = tokens.filter(
    ({ tokenType: type }) => type !== Junk && !type.CATEGORIES!.includes(Junk),
  );
  return { tokens: useful, comments: groups['comments'] ?? [] };
};

const endOf = (token: IToken): number => token.startOffset + token.image.length;

const isWord = ({ image }: IToken): boolean => /^[A-Za-z0-9_]/.test(image);

const isOpenAtEnd = ({ image }: IToken): boolean =>
  image.startsWith('#') || !/^("""[\s\S]*"""|"[^"]*")$/.test(image);

/** Is the place between the quotes, or in a comment? Behind an end that is missing, too. */
const isInside = (token: IToken, offset: number): boolean => {
  const { offset: start, length } = spanOfToken(token);
  const end = start + length;
  return start < offset && (offset < end || (offset === end && isOpenAtEnd(token)));
};

export const around = (text: string, offset: number): Around => {
  const { tokens, comments } = lex(text);
  const quoted = [...comments, ...tokens.filter(({ image }) => image.startsWith('"'))];
  const word = tokens.find(
    (token) => isWord(token) && token.startOffset <= offset && offset <= endOf(token),
  );
  const limit = word?.startOffset ?? offset;
  return {
    before: tokens.filter((token) => endOf(token) <= limit),
    word,
    isQuoted: quoted.some((token) => isInside(token, offset)),
  };
};
