/** What an editor asks of the language; it knows no editor. Nothing here throws on any text. */
export { classify, type ClassifiedSpan, type TokenKind } from './language/classify.ts';
export { complete, type CompletionItem, type CompletionKind } from './language/complete.ts';
export { hover, type Hover } from './language/hover.ts';
export { emptyVocabulary, type Vocabulary } from './language/vocabulary.ts';
