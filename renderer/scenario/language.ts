// The scenario language for the editor: colours, faults, completion and hover help.

import { checks } from '../../main/sim/checks/index.ts';
import { compileScenario } from '../../main/sim/scenario/compile.ts';
import {
  type CompletionKind,
  complete,
  hover,
  type Vocabulary,
} from '../../main/sim/scenario/language.ts';
import { monaco } from './editor.ts';
import { encodedTokens, tokenKinds } from './tokens.ts';

const id = 'apicscope-scenario';
/** All functions of the model; while they are not known yet, no name is a fault. */
let functions: Vocabulary['functions'] = [];

export const offerFunctions = (names: Vocabulary['functions']): void => {
  functions = names;
};

type Model = monaco.editor.ITextModel;

const rangeOf = (model: Model, span: { offset: number; length: number }): monaco.IRange => {
  const start = model.getPositionAt(span.offset);
  const end = model.getPositionAt(span.offset + span.length);
  return {
    startLineNumber: start.lineNumber,
    startColumn: start.column,
    endLineNumber: end.lineNumber,
    endColumn: end.column,
  };
};

const itemKinds: Readonly<
  Record<CompletionKind, keyof typeof monaco.languages.CompletionItemKind>
> = {
  keyword: 'Keyword',
  profile: 'Enum',
  switch: 'Property',
  value: 'Value',
  key: 'Property',
  instruction: 'Method',
  actor: 'Struct',
  function: 'Function',
  invariant: 'Event',
  field: 'Field',
};

const colours: monaco.languages.DocumentSemanticTokensProvider = {
  getLegend: () => ({ tokenTypes: [...tokenKinds], tokenModifiers: [] }),
  provideDocumentSemanticTokens(model) {
    const text = model.getValue(monaco.editor.EndOfLinePreference.LF);
    return { data: encodedTokens(text) };
  },
  releaseDocumentSemanticTokens: () => undefined,
};

const completion: monaco.languages.CompletionItemProvider = {
  triggerCharacters: ['.', '[', ' ', '"'],
  provideCompletionItems(model, position) {
    const items = complete(model.getValue(), model.getOffsetAt(position), { checks, functions });
    return {
      suggestions: items.map((item) => ({
        label: { label: item.label, description: item.detail },
        kind: monaco.languages.CompletionItemKind[itemKinds[item.kind]],
        documentation: item.documentation,
        insertText: item.insertText,
        range: rangeOf(model, item.replace),
      })),
    };
  },
};

const help: monaco.languages.HoverProvider = {
  provideHover(model, position) {
    const found = hover(model.getValue(), model.getOffsetAt(position), { checks, functions });
    return found && { range: rangeOf(model, found.span), contents: [{ value: found.markdown }] };
  },
};

let registered = false;

/** Tells the editor about the language, once. */
export const registerLanguage = (): void => {
  if (registered) return;
  registered = true;
  monaco.languages.register({ id });
  monaco.languages.setLanguageConfiguration(id, {
    comments: { lineComment: '#' },
    brackets: [
      ['{', '}'],
      ['(', ')'],
      ['[', ']'],
    ],
    autoClosingPairs: [
      { open: '{', close: '}' },
      { open: '"', close: '"' },
    ],
    wordPattern: /[A-Za-z_][\w.-]*/,
  });
  monaco.languages.registerDocumentSemanticTokensProvider(id, colours);
  monaco.languages.registerCompletionItemProvider(id, completion);
  monaco.languages.registerHoverProvider(id, help);
};

/** The faults of the text as the editor marks them. */
export const faultsOf = (text: string): monaco.editor.IMarkerData[] =>
  compileScenario(text, {}, { checks, functions }).diagnostics.map((one) => ({
    severity: monaco.MarkerSeverity.Error,
    message: one.message,
    startLineNumber: one.line,
    startColumn: one.column,
    endLineNumber: one.endLine,
    endColumn: one.endColumn,
  }));
