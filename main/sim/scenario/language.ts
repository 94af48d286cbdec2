/** What an editor asks of the language; it knows no editor. Nothing here throws on any text. */
export { classify, type TokenKind } from './language/classify.ts';
export { type CompletionKind, complete } from './language/complete.ts';
export { hover } from './language/hover.ts';
export type { Vocabulary } from './language/vocabulary.ts';
