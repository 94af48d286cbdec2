/** The tree of a scenario: what was written, where, and nothing of what it means. */
import type { Span } from '../diagnostics.ts';

/** A name, a keyword or a number as it was written. */
export interface Word extends Span {
  readonly text: string;
  readonly isNumber: boolean;
}

/** One or more strings side by side, joined by one space each. */
export interface Text extends Span {
  readonly text: string;
  /** where each string's own characters stand in the file and in `text` */
  readonly pieces: readonly TextPiece[];
}

export interface TextPiece extends Span {
  readonly at: number;
}

export interface Repeat extends Span {
  readonly kind: 'repeat';
  readonly count: Word | undefined;
  readonly body: readonly ProgramItem[];
  /** the word `repeat` */
  readonly head: Span;
}

export type ProgramItem = { readonly kind: 'word'; readonly word: Word } | Repeat;

export type GoalKind = 'to' | 'through' | 'on' | 'steps';

export interface Line extends Span {
  readonly actor: Word;
  readonly goal: GoalKind;
  /** the function of `to` and `through`, the number of `steps` */
  readonly argument: Word | undefined;
  readonly label: Text | undefined;
}

/** What chooses when the directives are done. */
export interface Policy extends Span {
  readonly name: Word;
  readonly seed: Word | undefined;
}

export type ExpressionTree =
  | { readonly kind: 'number'; readonly word: Word }
  | { readonly kind: 'path'; readonly word: Word }
  | {
      readonly kind: 'call';
      readonly name: Word;
      readonly argument: ExpressionTree;
      readonly span: Span;
    }
  | {
      readonly kind: 'unary';
      readonly operator: '!' | '-';
      readonly operand: ExpressionTree;
      readonly span: Span;
    }
  | {
      readonly kind: 'binary';
      readonly operator: string;
      readonly left: ExpressionTree;
      readonly right: ExpressionTree;
      readonly span: Span;
    };

export type ExpectTree =
  | { readonly kind: 'clean' }
  | {
      readonly kind: 'violated';
      readonly check: Word;
      readonly function: Word | undefined;
      readonly label: Text | undefined;
    }
  | { readonly kind: 'ends'; readonly halt: Word }
  | { readonly kind: 'final'; readonly expression: ExpressionTree };

/** A part of the file, from its keyword to its last word. */
export type Section = Span & { readonly head: Span } & (
    | { readonly kind: 'scenario'; readonly title: Text }
    | { readonly kind: 'race'; readonly race: Word; readonly twin: Word | undefined }
    | { readonly kind: 'profile'; readonly profile: Word }
    | { readonly kind: 'set'; readonly id: Word; readonly value: Word }
    | { readonly kind: 'about'; readonly text: Text }
    | { readonly kind: 'machine'; readonly words: readonly Word[] }
    | { readonly kind: 'program'; readonly actor: Word; readonly body: readonly ProgramItem[] }
    | {
        readonly kind: 'schedule';
        readonly lines: readonly Line[];
        readonly policy: Policy | undefined;
      }
    | { readonly kind: 'exact'; readonly text: Text }
    | { readonly kind: 'expect'; readonly expect: ExpectTree }
  );

export const spanOf = (tree: ExpressionTree): Span =>
  tree.kind === 'number' || tree.kind === 'path' ? tree.word : tree.span;
