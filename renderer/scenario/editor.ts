// The editor with only the pieces that a scenario needs, in the window's own colours.

import 'monaco-editor/features/bracketMatching/register';
import 'monaco-editor/features/clipboard/register';
import 'monaco-editor/features/comment/register';
import 'monaco-editor/features/cursorUndo/register';
import 'monaco-editor/features/find/register';
import 'monaco-editor/features/folding/register';
import 'monaco-editor/features/gotoError/register';
import 'monaco-editor/features/hover/register';
import 'monaco-editor/features/linesOperations/register';
import 'monaco-editor/features/multicursor/register';
import 'monaco-editor/features/placeholderText/register';
import 'monaco-editor/editor/contrib/semanticTokens/browser/documentSemanticTokens';
import 'monaco-editor/features/snippet/register';
import 'monaco-editor/editor/contrib/suggest/browser/suggestController';
import 'monaco-editor/features/wordHighlighter/register';
import 'monaco-editor/features/wordOperations/register';
import * as monaco from 'monaco-editor/editor/editor.api';
import EditorWorker from 'monaco-editor/editor/editor.worker?worker';
import { type ThemeName, token } from '../theme/theme.ts';

self.MonacoEnvironment = { getWorker: () => new EditorWorker() };

export { monaco };

/** Six hex digits of a token, as the editor wants colours. */
const hex = (name: string): string => token(name).replace('#', '');

/** Defines and takes the editor's theme from the tokens that hold now. */
export const wearTheme = (theme: ThemeName): void => {
  const colour = (name: string): string => token(name);
  monaco.editor.defineTheme('apicscope', {
    base: theme === 'light' ? 'vs' : theme === 'contrast' ? 'hc-black' : 'vs-dark',
    inherit: true,
    rules: [
      { token: 'keyword', foreground: hex('--keyword'), fontStyle: 'bold' },
      { token: 'string', foreground: hex('--string') },
      { token: 'number', foreground: hex('--number') },
      { token: 'comment', foreground: hex('--text-faint'), fontStyle: 'italic' },
      { token: 'name', foreground: hex('--text') },
      { token: 'path', foreground: hex('--accent') },
      { token: 'operator', foreground: hex('--text-dim') },
    ],
    colors: {
      'editor.background': colour('--ground-panel'),
      'editor.foreground': colour('--text'),
      'editorLineNumber.foreground': colour('--text-faint'),
      'editorLineNumber.activeForeground': colour('--text'),
      'editor.lineHighlightBackground': colour('--ground-raised'),
      'editorWidget.background': colour('--ground-raised'),
      'editorWidget.border': colour('--line-strong'),
      'editorHoverWidget.background': colour('--ground-raised'),
      'editorSuggestWidget.selectedBackground': colour('--accent-ground'),
      'editorSuggestWidget.selectedForeground': colour('--on-accent'),
      'editorError.foreground': colour('--bad-strong'),
    },
  });
  monaco.editor.setTheme('apicscope');
};

export const makeEditor = (element: HTMLElement, text: string) => {
  const editor = monaco.editor.create(element, {
    value: text,
    language: 'apicscope-scenario',
    theme: 'apicscope',
    'semanticHighlighting.enabled': true,
    automaticLayout: true,
    minimap: { enabled: false },
    fontFamily: '"JetBrains Mono", monospace',
    fontSize: 12.5,
    lineHeight: 19,
    fontLigatures: false,
    wordWrap: 'on',
    wrappingIndent: 'same',
    lineNumbersMinChars: 3,
    folding: true,
    glyphMargin: false,
    guides: { indentation: false },
    scrollBeyondLastLine: false,
    overviewRulerLanes: 0,
    renderLineHighlight: 'line',
    fixedOverflowWidgets: true,
    tabSize: 2,
    wordBasedSuggestions: 'off',
    scrollbar: { verticalScrollbarSize: 10, horizontalScrollbarSize: 10 },
    ariaLabel: 'Scenario',
  });
  // Hues of brackets would say nothing, and they would colour those in prose too.
  editor.getModel()?.updateOptions({
    bracketColorizationOptions: { enabled: false, independentColorPoolPerBracketType: false },
  });
  return editor;
};
