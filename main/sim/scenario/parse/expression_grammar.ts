/** The part of the grammar that a text of one expression and a scenario share, and its settings. */
import { EmbeddedActionsParser, type IToken } from 'chevrotain';
import { type Span, spanning } from '../diagnostics.ts';
import type { ErrorMessages } from './messages.ts';
import { binaryTree, type Operation, unaryTree } from './precedence.ts';
import { spanOfToken as spanOf } from './sections.ts';
import { joined } from './strings.ts';
import * as t from './tokens.ts';
import type { ExpressionTree, Text, Word } from './tree.ts';

export const wordOf = (token: IToken): Word => ({
  text: token.image,
  isNumber: token.tokenType === t.Integer,
  ...spanOf(token),
});

/** What a rule gives when it gave up: the diagnostic is made, the part is left out. */
export const lost = { recoveryValueFunc: () => undefined };

/** Adds an item, unless it was given up. */
export const kept = <T>(list: T[], item: T | undefined): void => {
  if (item !== undefined) list.push(item);
};

/** The parser of scenarios builds on it, and analyses the whole grammar once. */
export abstract class ExpressionParser extends EmbeddedActionsParser {
  constructor(messages: ErrorMessages) {
    super(t.allTokens, {
      recoveryEnabled: true,
      maxLookahead: 2,
      errorMessageProvider: messages,
    });
  }

  /** Nothing is invented: a token that nobody wrote has no place and would get a meaning. */
  protected override canTokenTypeBeInsertedInRecovery(): boolean {
    return false;
  }

  /** Nothing is dropped to make the rest fit: it could be the keyword of the next section. */
  protected override canTokenTypeBeDeletedInRecovery(): boolean {
    return false;
  }

  /** From the token to the last one that was read. */
  protected since(token: IToken): Span & { readonly head: Span } {
    const head = spanOf(token);
    return { ...spanning(head, spanOf(this.LA(0))), head };
  }

  readonly text = this.RULE(
    'text',
    (): Text | undefined => {
      const strings: IToken[] = [];
      this.AT_LEAST_ONE(() => {
        strings.push(
          this.OR([
            { ALT: () => this.CONSUME(t.ShortString) },
            { ALT: () => this.CONSUME(t.LongString) },
          ]),
        );
      });
      return this.ACTION(() => joined(strings));
    },
    lost,
  );

  readonly expression = this.RULE(
    'expression',
    (): ExpressionTree | undefined => {
      const first = this.SUBRULE(this.unary);
      const rest: Operation[] = [];
      this.MANY(() => {
        const operator = this.CONSUME(t.Binary).image;
        const operand = this.SUBRULE2(this.unary);
        this.ACTION(() => kept(rest, operand && { operator, operand }));
      });
      return this.ACTION(() => first && binaryTree(first, rest));
    },
    lost,
  );

  readonly unary = this.RULE(
    'unary',
    (): ExpressionTree | undefined => {
      const operators: IToken[] = [];
      this.MANY(() => {
        operators.push(
          this.OR([{ ALT: () => this.CONSUME(t.Not) }, { ALT: () => this.CONSUME(t.Minus) }]),
        );
      });
      const operand = this.SUBRULE(this.primary);
      return this.ACTION(() => operand && unaryTree(operators, operand));
    },
    lost,
  );

  readonly primary = this.RULE(
    'primary',
    (): ExpressionTree | undefined =>
      this.OR([
        { ALT: (): ExpressionTree => ({ kind: 'number', word: wordOf(this.CONSUME(t.Integer)) }) },
        { ALT: () => this.SUBRULE(this.pathOrCall) },
        {
          ALT: () => {
            this.CONSUME(t.LParen);
            const inner = this.SUBRULE(this.expression);
            this.CONSUME(t.RParen);
            return inner;
          },
        },
      ]),
    lost,
  );

  readonly pathOrCall = this.RULE(
    'pathOrCall',
    (): ExpressionTree | undefined => {
      const first = this.CONSUME(t.Path);
      const word = wordOf(first);
      let call: ExpressionTree | undefined;
      let isCall = false;
      this.OPTION(() => {
        this.CONSUME(t.LParen);
        isCall = true;
        const argument = this.SUBRULE(this.expression);
        this.CONSUME(t.RParen);
        const { offset, length } = this.since(first);
        call = argument && { kind: 'call', name: word, argument, span: { offset, length } };
      });
      return isCall ? call : { kind: 'path', word };
    },
    lost,
  );

  /** A whole text that is one expression. */
  readonly onlyExpression = this.RULE(
    'onlyExpression',
    (): ExpressionTree | undefined => this.SUBRULE(this.expression),
    lost,
  );
}
