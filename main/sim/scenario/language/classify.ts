/** Colours: the kind of each word of a text. */
import type { IToken } from 'chevrotain';
import type { Span } from '../diagnostics.ts';
import { isOneOf, sectionsOf, spanOfToken } from '../parse/sections.ts';
import * as t from '../parse/tokens.ts';
import { lex } from './tokens_at.ts';

export type TokenKind = 'keyword' | 'string' | 'number' | 'comment' | 'name' | 'path' | 'operator';

export interface ClassifiedSpan extends Span {
  readonly kind: TokenKind;
}

/** Words such as `on` and `at` are keywords only where the grammar has them. */
const hasKeywords: ReadonlySet<string> = new Set(['schedule', 'expect']);

const kindOf = (token: IToken, isKeyworded: boolean): TokenKind => {
  const { tokenType: type } = token;
  if (isOneOf(token, t.sectionTokens) || type === t.Repeat) return 'keyword';
  if (type === t.Integer) return 'number';
  if (type === t.Path) return /[.[]/.test(token.image) ? 'path' : 'name';
  if (token.image.startsWith('"')) return 'string';
  if (type === t.Name) return 'name';
  if (isOneOf(token, t.words)) return isKeyworded ? 'keyword' : 'name';
  return 'operator';
};

/** Every word, number, sign and comment in order of place. */
export const classify = (text: string): ClassifiedSpan[] => {
  const { tokens, comments } = lex(text);
  const spans = sectionsOf(tokens).flatMap((part) => {
    const isKeyworded = hasKeywords.has(part[0]!.image);
    return part.map(
      (token): ClassifiedSpan => ({ ...spanOfToken(token), kind: kindOf(token, isKeyworded) }),
    );
  });
  const remarks = comments.map(
    (token): ClassifiedSpan => ({ ...spanOfToken(token), kind: 'comment' }),
  );
  return [...spans, ...remarks].sort((a, b) => a.offset - b.offset);
};
