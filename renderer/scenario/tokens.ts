// The colours of a scenario in the form that the editor wants.

import { classify, type TokenKind } from '../../main/sim/scenario/language.ts';

export const tokenKinds: readonly TokenKind[] = [
  'keyword',
  'string',
  'number',
  'comment',
  'name',
  'path',
  'operator',
];

const startsOfLines = (text: string): number[] => {
  const starts = [0];
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) starts.push(i + 1);
  return starts;
};

/** Tokens as the editor wants them: each five numbers relative to the one before it. */
export const encodedTokens = (text: string): Uint32Array => {
  const lineStarts = startsOfLines(text);
  const data: number[] = [];
  let lastLine = 0;
  let lastColumn = 0;
  const put = (line: number, column: number, length: number, kind: number): void => {
    data.push(line - lastLine, line === lastLine ? column - lastColumn : column, length, kind, 0);
    lastLine = line;
    lastColumn = column;
  };
  let line = 0;
  for (const span of classify(text)) {
    let { offset } = span;
    const end = span.offset + span.length;
    while (offset < end) {
      while ((lineStarts[line + 1] ?? Number.POSITIVE_INFINITY) <= offset) line++;
      const lineStart = lineStarts[line] ?? 0;
      const stop = Math.min(end, (lineStarts[line + 1] ?? text.length + 1) - 1);
      if (stop > offset)
        put(line, offset - lineStart, stop - offset, tokenKinds.indexOf(span.kind));
      offset = Math.max(stop, offset) + (stop < end ? 1 : 0);
    }
  }
  return Uint32Array.from(data);
};
