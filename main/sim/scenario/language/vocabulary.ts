/**
 * Names that a scenario uses and that the model declares elsewhere. The caller passes them in, so
 * that the window can offer them without loading the model. An empty list is not checked against.
 */

export interface Vocabulary {
  readonly checks: readonly CheckName[];
  readonly functions: readonly FunctionName[];
}

/** Fits `Check` of the invariants. */
export interface CheckName {
  readonly id: string;
  readonly summary: string;
  readonly why?: string;
  readonly races?: readonly string[];
}

/** Fits `FunctionInfo` of the registered functions. */
export interface FunctionName {
  readonly name: string;
  readonly world?: string;
  readonly source?: string;
}

export const emptyVocabulary: Vocabulary = { checks: [], functions: [] };
