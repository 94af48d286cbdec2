/**
 * Paths of the machine (`vcpu[1].pi_desc.on`), globs over them, and reading a value by its place.
 * Works from a layout alone, also from one that an older version stored in a recording.
 */
import type { Field, Format, RecordType } from './fields.ts';

/** The final place of a member: a value that can be read, printed and compared. */
export interface Leaf {
  readonly path: string;
  readonly kind: 'uint' | 'int' | 'flag' | 'bits' | 'bytes';
  /** first word of the value in the arena */
  readonly word: number;
  readonly bit: number;
  /** bits; of `bytes`, 8 × their number */
  readonly width: number;
  /** words between successive words of the value */
  readonly step: number;
  readonly format: Format;
  readonly doc: string;
  /** VMCS encoding and the like, −1 if none */
  readonly tag: number;
}

/** Up to 53 bits a number; wider values as "0x…" with as many digits as the width has. */
export type LeafValue = number | boolean | string;

export const wordsOf = (leaf: Leaf): number => Math.max(1, Math.ceil(leaf.width / 32));

const leafOf = (path: string, field: Field, base: number): Leaf => ({
  path,
  kind: field.kind as Leaf['kind'],
  word: base + (field.offset >>> 2),
  bit: field.bit,
  width: field.kind === 'bytes' ? field.count * 8 : field.width,
  step: field.stride >>> 2,
  format: field.format,
  doc: field.doc,
  tag: field.tag,
});

/** Calls `visit` for each leaf in order of declaration. */
export const eachLeaf = (
  layout: RecordType,
  visit: (leaf: Leaf) => void,
  prefix = '',
  base = 0,
): void => {
  for (const field of layout.fields) {
    const path = prefix === '' ? field.name : `${prefix}.${field.name}`;
    const at = base + (field.offset >>> 2);
    if (field.kind === 'record') eachLeaf(field.of!, visit, path, at);
    else if (field.kind === 'array') {
      const each = field.of!.bytes >>> 2;
      for (let i = 0; i < field.count; i++)
        eachLeaf(field.of!, visit, `${path}[${i}]`, at + i * each);
    } else visit(leafOf(path, field, base));
  }
};

export const leavesOf = (layout: RecordType): Leaf[] => {
  const all: Leaf[] = [];
  eachLeaf(layout, (leaf) => all.push(leaf));
  return all;
};

const partPattern = /^([A-Za-z_][A-Za-z0-9_]*)(?:\[(0x[0-9a-fA-F]+|\d+)\])?$/;

/** One bit of a bit set, or the 32-bit word at a byte offset of a page. */
const elementOf = (leaf: Leaf, path: string, index: number): Leaf | undefined => {
  if (leaf.kind === 'bits') {
    if (index >= leaf.width) return undefined;
    return {
      ...leaf,
      path,
      kind: 'flag',
      word: leaf.word + (index >>> 5) * leaf.step,
      bit: index & 31,
      width: 1,
      step: 1,
      format: 'bool',
    };
  }
  if (leaf.kind === 'bytes') {
    if (index % 4 !== 0 || index * 8 >= leaf.width) return undefined;
    return {
      ...leaf,
      path,
      kind: 'uint',
      word: leaf.word + (index >>> 2),
      width: 32,
      step: 1,
      format: 'hex',
    };
  }
  return undefined;
};

/**
 * The leaf that `path` names: a field, one bit of a bit set (`irr[0x31]`), or the word at a byte
 * offset of a page (`data[0x80]`). Undefined if there is no such leaf.
 */
export const leafAt = (layout: RecordType, path: string): Leaf | undefined => {
  let record: RecordType | undefined = layout;
  let base = 0;
  const parts = path.split('.');
  for (const [depth, part] of parts.entries()) {
    const match = partPattern.exec(part);
    const field: Field | undefined =
      match === null ? undefined : record?.fields.find((f) => f.name === match[1]);
    if (match === null || field === undefined) return undefined;
    const index = match[2] === undefined ? undefined : Number(match[2]);
    const at = base + (field.offset >>> 2);
    if (field.kind === 'record' || field.kind === 'array') {
      if ((field.kind === 'array') !== (index !== undefined)) return undefined;
      if (index !== undefined && index >= field.count) return undefined;
      base = at + (index ?? 0) * (field.of!.bytes >>> 2);
      record = field.of;
      continue;
    }
    if (depth !== parts.length - 1) return undefined;
    const leaf = leafOf(path, field, base);
    return index === undefined ? leaf : elementOf(leaf, path, index);
  }
  return undefined;
};

const globCharactersMax = 200;

/** Character by character, the states of the glob that the text so far can have reached. */
const globSteps = (glob: string): ((path: string) => boolean) => {
  const tokens = glob.replace(/\*{3,}/g, '**').match(/\*\*|./gs) ?? [];
  const end = tokens.length;
  const star = glob.indexOf('*');
  const prefix = star < 0 ? glob : glob.slice(0, star);
  return (path) => {
    if (!path.startsWith(prefix)) return false;
    let reached = new Uint8Array(end + 1);
    reached[0] = 1;
    for (let i = 0; i <= path.length; i++) {
      const character = path[i];
      const next = new Uint8Array(end + 1);
      for (let t = 0; t < end; t++) {
        if (reached[t] === 0) continue;
        const token = tokens[t];
        const any = token === '**' || (token === '*' && character !== '.');
        if (token === '**' || token === '*') reached[t + 1] = 1;
        if (any) next[t] = 1;
        else if (token === character) next[t + 1] = 1;
      }
      if (i === path.length) return reached[end] === 1;
      reached = next;
    }
    return false;
  };
};

/**
 * A test for paths: `*` stands for anything inside one component, `**` for any number of them.
 * Its time grows with the length of glob times path, whatever the glob.
 */
export const globTest = (glob: string): ((path: string) => boolean) => {
  if (glob.length > globCharactersMax) {
    throw new Error(`a pattern of paths has at most ${globCharactersMax} characters`);
  }
  return globSteps(glob);
};

/**
 * Goes down only where the next component of the glob allows it: a machine has many leaves, and a
 * glob names few of them. Below a `**` every leaf is tried.
 */
const collectMatching = (
  layout: RecordType,
  rest: string,
  test: (path: string) => boolean,
  prefix: string,
  base: number,
  found: Leaf[],
): void => {
  const dot = rest.indexOf('.');
  const component = dot < 0 ? rest : rest.slice(0, dot);
  const behind = dot < 0 ? '' : rest.slice(dot + 1);
  const anyDepth = component.includes('**');
  const allowed = anyDepth ? () => true : globTest(component);
  for (const field of layout.fields) {
    const { name, count, of } = field;
    const at = base + (field.offset >>> 2);
    const below = (part: string, word: number): void => {
      if (allowed(part)) {
        collectMatching(of!, anyDepth ? rest : behind, test, `${prefix}${part}.`, word, found);
      }
    };
    if (field.kind === 'record') below(name, at);
    else if (field.kind === 'array') {
      for (let i = 0; i < count; i++) below(`${name}[${i}]`, at + i * (of!.bytes >>> 2));
    } else if (test(`${prefix}${name}`)) found.push(leafOf(`${prefix}${name}`, field, base));
  }
};

/** All leaves that a path or a glob names, elements of bit sets and pages only by exact path. */
export const leavesMatching = (layout: RecordType, glob: string): Leaf[] => {
  if (!glob.includes('*')) {
    const one = leafAt(layout, glob);
    if (one !== undefined) return [one];
    return leavesMatching(layout, `${glob}.**`);
  }
  const matching: Leaf[] = [];
  collectMatching(layout, glob, globTest(glob), '', 0, matching);
  return matching;
};

const hexOf = (words: Uint32Array, leaf: Leaf): string => {
  let digits = '';
  for (let i = wordsOf(leaf) - 1; i >= 0; i--) {
    digits += words[leaf.word + i * leaf.step]!.toString(16).padStart(8, '0');
  }
  return digits;
};

/** The value at a leaf. `words` is the arena's buffer or a copy of it. */
export const valueAt = (words: Uint32Array, leaf: Leaf): LeafValue => {
  const low = words[leaf.word]!;
  switch (leaf.kind) {
    case 'flag':
      return ((low >>> leaf.bit) & 1) === 1;
    case 'int':
      return low | 0;
    case 'uint':
      if (leaf.width <= 32) {
        return leaf.width === 32 ? low : (low >>> leaf.bit) & (2 ** leaf.width - 1);
      } else {
        const high = words[leaf.word + leaf.step]!;
        return high < 2 ** 21 ? high * 2 ** 32 + low : `0x${hexOf(words, leaf)}`;
      }
    case 'bits':
      return leaf.width <= 32 ? low : `0x${hexOf(words, leaf)}`;
    case 'bytes': {
      let text = '';
      for (let i = 0; i < wordsOf(leaf); i++) {
        const word = words[leaf.word + i]!;
        for (let b = 0; b < 4; b++)
          text += ((word >>> (b * 8)) & 0xff).toString(16).padStart(2, '0');
      }
      return text;
    }
  }
};

/** Do the two images of the arena differ at the leaf? */
export const differsAt = (a: Uint32Array, b: Uint32Array, leaf: Leaf): boolean => {
  if (leaf.kind === 'flag' || (leaf.kind === 'uint' && leaf.width < 32)) {
    const mask = ((leaf.width >= 32 ? 0xffff_ffff : 2 ** leaf.width - 1) << leaf.bit) >>> 0;
    return ((a[leaf.word]! ^ b[leaf.word]!) & mask) !== 0;
  }
  for (let i = 0; i < wordsOf(leaf); i++) {
    const word = leaf.word + i * leaf.step;
    if (a[word] !== b[word]) return true;
  }
  return false;
};

const setBits = (words: Uint32Array, leaf: Leaf): number[] => {
  const set: number[] = [];
  for (let i = 0; i < leaf.width; i++) {
    if (((words[leaf.word + (i >>> 5) * leaf.step]! >>> (i & 31)) & 1) === 1) set.push(i);
  }
  return set;
};

const named = (names: { readonly [name: string]: number }, value: number): string =>
  Object.entries(names).find(([, v]) => v === value)?.[0] ?? `0x${value.toString(16)}`;

/** The value as the window and the command line print it. */
export const textOf = (words: Uint32Array, leaf: Leaf): string => {
  const value = valueAt(words, leaf);
  const { format } = leaf;
  if (leaf.kind === 'bits') {
    const set = setBits(words, leaf);
    const text = set.map((v) =>
      typeof format === 'object' ? named(format, v) : `0x${v.toString(16)}`,
    );
    return `{${text.join(' ')}}`;
  }
  if (typeof value === 'string') return leaf.kind === 'bytes' ? value : allOnes(value);
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (typeof format === 'object') return named(format, value);
  switch (format) {
    case 'dec':
      return String(value);
    case 'pfn':
      return value < 0 ? 'none' : `pfn ${value}`;
    default:
      return `0x${value.toString(16)}`;
  }
};

const allOnes = (hex: string): string => (/^0xf+$/.test(hex) ? '~0' : hex);

/** Finds the leaves that a word belongs to: for decoding writes. Built once for each layout. */
export class LeafIndex {
  readonly leaves: readonly Leaf[];
  readonly #byWord: (Leaf[] | undefined)[] = [];

  constructor(layout: RecordType) {
    this.leaves = leavesOf(layout);
    for (const leaf of this.leaves) {
      for (let i = 0; i < wordsOf(leaf); i++) {
        const word = leaf.word + i * leaf.step;
        const known = this.#byWord[word];
        if (known === undefined) this.#byWord[word] = [leaf];
        else known.push(leaf);
      }
    }
  }

  at(word: number): readonly Leaf[] {
    return this.#byWord[word] ?? [];
  }
}
