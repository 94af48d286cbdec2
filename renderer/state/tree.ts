// The machine's fields as a tree of rows: which are open, which pass the filter.

import type { RecordType } from '../../main/sim/arena/fields.ts';
import { globTest, type Leaf, type LeafIndex } from '../../main/sim/arena/leaves.ts';
import { helpLines } from '../../main/sim/state/help/index.ts';

export interface TreeRow {
  readonly path: string;
  readonly name: string;
  readonly depth: number;
  readonly doc: string;
  /** undefined of a record or array */
  readonly leaf: Leaf | undefined;
  /** index of the first row behind this one's subtree */
  readonly end: number;
}

type Growing = { -readonly [K in keyof TreeRow]: TreeRow[K] };

const addRecord = (
  rows: Growing[],
  type: RecordType,
  at: { path: string; depth: number },
  leaves: ReadonlyMap<string, Leaf>,
): void => {
  for (const field of type.fields) {
    const path = at.path === '' ? field.name : `${at.path}.${field.name}`;
    const row: Growing = {
      path,
      name: field.name,
      depth: at.depth,
      doc: field.doc,
      leaf: leaves.get(path),
      end: 0,
    };
    rows.push(row);
    if (field.kind === 'record') addRecord(rows, field.of!, { path, depth: at.depth + 1 }, leaves);
    if (field.kind === 'array') {
      for (let i = 0; i < field.count; i++) {
        const element = `${path}[${i}]`;
        const inside: Growing = {
          path: element,
          name: `[${i}]`,
          depth: at.depth + 1,
          doc: field.of!.doc,
          leaf: undefined,
          end: 0,
        };
        rows.push(inside);
        addRecord(rows, field.of!, { path: element, depth: at.depth + 2 }, leaves);
        inside.end = rows.length;
      }
    }
    row.end = rows.length;
  }
};

/** All rows of a layout, parents before their members. */
export const treeOf = (layout: RecordType, index: LeafIndex): TreeRow[] => {
  const leaves = new Map(index.leaves.map((leaf) => [leaf.path, leaf]));
  const rows: Growing[] = [];
  addRecord(rows, layout, { path: '', depth: 0 }, leaves);
  return rows;
};

/** Does a path pass the text of a filter: a glob if it has a `*`, else words that all occur. */
export const filterTest = (text: string): ((path: string) => boolean) => {
  const trimmed = text.trim();
  if (trimmed === '') return () => true;
  if (trimmed.includes('*')) return globTest(trimmed.includes('**') ? trimmed : `${trimmed}**`);
  const words = trimmed.toLowerCase().split(/\s+/);
  return (path) => words.every((word) => path.toLowerCase().includes(word));
};

export interface Sight {
  readonly opened: ReadonlySet<string>;
  readonly filter: string;
  /** if given, only these leaves */
  readonly only: ReadonlySet<Leaf> | undefined;
}

const parentsOf = (rows: readonly TreeRow[], kept: (row: TreeRow) => boolean): Set<number> => {
  const keep = new Set<number>();
  const stack: number[] = [];
  for (const [i, row] of rows.entries()) {
    while (stack.length > 0 && rows[stack.at(-1)!]!.end <= i) stack.pop();
    if (row.leaf === undefined) stack.push(i);
    else if (kept(row)) for (const parent of [...stack, i]) keep.add(parent);
  }
  return keep;
};

/** The rows in sight: what is opened, or, with a filter, what passes it. */
export const rowsInSight = (rows: readonly TreeRow[], sight: Sight): TreeRow[] => {
  if (sight.filter.trim() !== '' || sight.only !== undefined) {
    const test = filterTest(sight.filter);
    const { only } = sight;
    const keep = parentsOf(
      rows,
      (row) => (only === undefined || only.has(row.leaf!)) && test(row.path),
    );
    return rows.filter((_, i) => keep.has(i));
  }
  const seen: TreeRow[] = [];
  for (let i = 0; i < rows.length; ) {
    const row = rows[i]!;
    seen.push(row);
    i = row.leaf === undefined && !sight.opened.has(row.path) ? row.end : i + 1;
  }
  return seen;
};

/** The paths of all parents of the leaves. */
export const ancestorsOf = (leaves: Iterable<Leaf>): Set<string> => {
  const found = new Set<string>();
  for (const { path } of leaves) {
    for (let i = path.length - 1; i > 0; i--) {
      if (path[i] === '.' || path[i] === '[') {
        found.add(path.slice(0, i));
      }
    }
  }
  return found;
};

/** The lines of help that are not in the layout; a tool tip has no markup. */
const told = (path: string): string[] => helpLines(path).map((line) => line.replaceAll('`', ''));

/** What the hover help says of a record or an array. */
export const helpOfRow = ({ path, doc }: Pick<TreeRow, 'path' | 'doc'>): string =>
  [path, doc, ...told(path)].join('\n');

/** What the hover help says of a leaf. */
export const helpOf = (leaf: Leaf): string => {
  const kind =
    leaf.kind === 'bytes' ? `${leaf.width / 8} bytes` : `${leaf.kind} of ${leaf.width} bits`;
  const tag = leaf.tag < 0 ? [] : [tagText(leaf)];
  const as = typeof leaf.format === 'string' ? leaf.format : Object.keys(leaf.format).join(' ');
  return [leaf.path, leaf.doc, `${kind}, shown as ${as}`, ...tag, ...told(leaf.path)].join('\n');
};

const tagText = (leaf: Leaf): string => {
  const hex = `0x${leaf.tag.toString(16)}`;
  return leaf.path.includes('.apic.') ? `MSR ${hex}` : `VMCS encoding ${hex}`;
};
