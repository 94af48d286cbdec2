/** What an editor asks of the language; it knows no editor. Nothing here throws on any text. */
export { type ClassifiedSpan, classify, type TokenKind } from './language/classify.ts';
export { type CompletionItem, type CompletionKind, complete } from './language/complete.ts';
export { type Hover, hover } from './language/hover.ts';
export { emptyVocabulary, type Vocabulary } from './language/vocabulary.ts';
