/** What is told to the author of a scenario: where, what is wrong, and what to do. */

/** A stretch of the text, in UTF-16 units from its start. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** A fault before its offset is turned into lines and columns. */
export interface Problem extends Span {
  readonly message: string;
}

/** Lines and columns count from 1; the end is behind the last character. */
export interface Diagnostic extends Problem {
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
  readonly severity: 'error';
}

/** Diagnostics of one text; what is beyond says so in the last of them. */
export const diagnosticsMax = 100;

/** A problem at a span; the span may be any node of the tree. */
export const problemAt = ({ offset, length }: Span, message: string): Problem => ({
  offset,
  length,
  message,
});

/** The problem of an option or a call, which stands nowhere in the text. */
export const problemNowhere = (message: string): Problem => ({ offset: 0, length: 0, message });

/** From the start of one span to the end of another. */
export const spanning = (from: Span, to: Span): Span => ({
  offset: from.offset,
  length: Math.max(0, to.offset + to.length - from.offset),
});

/** The last index whose start is not behind the offset. */
const lineOf = (starts: readonly number[], offset: number): number => {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (starts[middle]! <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
};

/** Sorted by place, without repetitions, with lines and columns, at most `diagnosticsMax`. */
export const diagnosticsOf = (text: string, problems: readonly Problem[]): Diagnostic[] => {
  const starts = [0];
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) starts.push(i + 1);
  const sorted = [...problems].sort((a, b) => a.offset - b.offset);
  const different = sorted.filter((p, i) => {
    const before = sorted[i - 1];
    return before === undefined || before.offset !== p.offset || before.message !== p.message;
  });
  const left = different.length - diagnosticsMax;
  return different.slice(0, diagnosticsMax).map((p, i): Diagnostic => {
    const offset = Math.min(p.offset, text.length);
    const end = Math.min(offset + p.length, text.length);
    const line = lineOf(starts, offset);
    const endLine = lineOf(starts, end);
    const more = i === diagnosticsMax - 1 && left > 0 ? ` (and ${left} more problems)` : '';
    return {
      message: p.message + more,
      offset,
      length: end - offset,
      severity: 'error',
      line: line + 1,
      column: offset - starts[line]! + 1,
      endLine: endLine + 1,
      endColumn: end - starts[endLine]! + 1,
    };
  });
};

/** Letters changed, added, taken away, or swapped with the next; `limit + 1` if there are more. */
const distance = (a: string, b: string, limit: number): number => {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let older: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? older[j - 2]! + 1 : change;
      next.push(Math.min(change, swap, row[j]! + 1, next[j - 1]! + 1));
    }
    older = row;
    row = next;
  }
  return row[b.length]!;
};

/** Names longer than this are not compared. */
const nameMax = 100;

const simplified = (name: string): string => name.toLowerCase().replaceAll(/[-.]/g, '_');

/** The name that was probably meant: few letters differ, or it is the only one that begins so. */
export const nearest = (name: string, names: readonly string[]): string | undefined => {
  if (name.length > nameMax) return undefined;
  const wanted = simplified(name);
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.min(3, Math.floor(name.length / 3))) + 1;
  for (const candidate of names) {
    const d = distance(wanted, simplified(candidate), bestDistance - 1);
    if (d < bestDistance) {
      best = candidate;
      bestDistance = d;
    }
  }
  if (best !== undefined || wanted.length < 2) return best;
  const longer = names.filter((n) => simplified(n).startsWith(wanted));
  return longer.length === 1 ? longer[0] : undefined;
};

/** Lists longer than this are not printed in a message. */
const listedMax = 16;

/** How a message about an unknown name ends: `did you mean "x"?`, or the names that exist. */
export const instead = (name: string, names: readonly string[]): string => {
  const meant = nearest(name, names);
  if (meant !== undefined) return `did you mean "${meant}"?`;
  if (names.length === 0) return 'there is none to choose from';
  return names.length <= listedMax ? `write ${choice(names)}` : 'see the list in the reference';
};

/** `a`, `a or b`, `a, b or c` */
export const choice = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
