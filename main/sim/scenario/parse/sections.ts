/** Cutting the tokens of a text into sections. */
import type { IToken } from 'chevrotain';
import type { Span } from '../diagnostics.ts';
import * as t from './tokens.ts';

export const spanOfToken = ({ startOffset, image }: IToken): Span => ({
  offset: startOffset,
  length: image.length,
});

export const opening = new Set([t.LBrace, t.LParen]);
export const closing = new Set([t.RBrace, t.RParen]);

/** Is the token of one of the types, or of a type that is a kind of one? */
export const isOneOf = (token: IToken, types: ReadonlySet<unknown>): boolean =>
  types.has(token.tokenType) || token.tokenType.CATEGORIES!.some((c) => types.has(c));

/** Braces without a partner, outermost first. */
export const openBraces = (tokens: readonly IToken[]): IToken[] => {
  const open: IToken[] = [];
  for (const token of tokens) {
    if (isOneOf(token, opening)) open.push(token);
    else if (isOneOf(token, closing)) open.pop();
  }
  return open;
};

/** Does a section begin at the token? A name in front of "{" is an actor, but for `repeat N {`. */
const beginsSection = (tokens: readonly IToken[], index: number): boolean => {
  const token = tokens[index]!;
  if (isOneOf(token, t.sectionTokens)) return true;
  const next = tokens[index + 1];
  return (
    isOneOf(token, t.heads) &&
    next !== undefined &&
    isOneOf(next, opening) &&
    next.image === '{' &&
    tokens[index - 1]?.tokenType !== t.Repeat
  );
};

/** The tokens of each section: an error in one does not spoil the next. */
export const sectionsOf = (tokens: readonly IToken[]): IToken[][] => {
  const sections: IToken[][] = [];
  for (const [i, token] of tokens.entries()) {
    if (i === 0 || beginsSection(tokens, i)) sections.push([]);
    sections.at(-1)!.push(token);
  }
  return sections;
};
