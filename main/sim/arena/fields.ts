/**
 * Declaring the machine: what a field is, and how fields are laid out into records.
 * A declaration is plain data, so that it can be stored in a recording and read back by
 * a later version. Everything else (accessors, paths, printing, SQL, help) derives from it.
 */

/** How a value is printed and typed in; a name-to-number table makes an enumeration. */
export type Format =
  | 'dec'
  | 'hex'
  | 'bool'
  | 'vector'
  | 'pfn'
  | 'gpa'
  | 'hpa'
  | 'gfn'
  | 'site'
  | { readonly [name: string]: number };

export type Kind = 'uint' | 'int' | 'flag' | 'bits' | 'bytes' | 'record' | 'array';

/** A member of a record after layout; `offset` in bytes from the record's start. */
export interface Field {
  readonly name: string;
  readonly kind: Kind;
  /** bytes from the start of the record, always a multiple of 4 less the sub-word part */
  readonly offset: number;
  /** position of the lowest bit inside the 32-bit word that holds the field */
  readonly bit: number;
  /** width in bits; of a `bytes` field, of one element of an `array`: 0 */
  readonly width: number;
  readonly format: Format;
  readonly doc: string;
  /** bytes between successive 32-bit words of a `bits` field (16 in the APIC page) */
  readonly stride: number;
  /** elements of an array, bytes of a `bytes` field */
  readonly count: number;
  /** what a `record` or the elements of an `array` are */
  readonly of: RecordType | undefined;
  /** VMCS encoding, MSR number …: the name that hardware has for the field, −1 if none */
  readonly tag: number;
}

/** A laid-out record: fields in order of declaration, size in bytes (a multiple of 4). */
export interface RecordType {
  readonly name: string;
  readonly doc: string;
  readonly bytes: number;
  readonly fields: readonly Field[];
}

/** Sizes that the scenario's machine decides, e.g. `{ vcpus: 2, frames: 16 }`. */
export type Dimensions = { readonly [name: string]: number };

export interface Place {
  /** byte offset that hardware or the kernel fixes */
  readonly at?: number;
  /** lowest bit, counted from `at` */
  readonly bit?: number;
  readonly as?: Format;
  readonly tag?: number;
}

/** What `V`iew a field gives in model code; carried in the type only. */
export interface Spec<V> {
  readonly kind: Kind;
  readonly width: number;
  readonly format: Format;
  readonly doc: string;
  readonly at: number | undefined;
  readonly bit: number | undefined;
  readonly tag: number | undefined;
  readonly stride: number;
  readonly count: number | string;
  readonly of: RecordSpec<FieldSpecs> | undefined;
  readonly view?: V;
}

export type FieldSpecs = { readonly [name: string]: Spec<unknown> };

export interface RecordSpec<F extends FieldSpecs> {
  readonly name: string;
  readonly doc: string;
  readonly fields: F;
  /** bytes that hardware fixes as the size, or undefined: as large as needed */
  readonly size: number | undefined;
}

/** A set of numbered bits, changed bit by bit or word by word. */
export interface Bits {
  readonly width: number;
  has(index: number): boolean;
  /** Sets the bit; says whether it was set before (`test_and_set_bit`). */
  set(index: number): boolean;
  /** Clears the bit; says whether it was set before (`test_and_clear_bit`). */
  clear(index: number): boolean;
  any(): boolean;
  /** the highest set bit, −1 if none */
  highest(): number;
  count(): number;
  /** the 32-bit word `index`, bits 32·index upwards */
  word(index: number): number;
  setWord(index: number, value: number): void;
  clearAll(): void;
}

/** Raw memory; offsets in bytes, little endian. */
export interface Bytes {
  readonly length: number;
  /** word of the arena that holds the first four bytes */
  readonly firstWord: number;
  u32(offset: number): number;
  setU32(offset: number, value: number): void;
  u8(offset: number): number;
  setU8(offset: number, value: number): void;
}

export type View<F extends FieldSpecs> = {
  -readonly [K in keyof F]: F[K] extends Spec<infer V> ? V : never;
} & { readonly index: number };

/** The accessor type of a declared record: `type PiDesc = ViewOf<typeof PiDesc>`. */
export type ViewOf<R> = R extends RecordSpec<infer F> ? View<F> : never;

type Doc = readonly [string] | readonly [Place, string];

const spec = <V>(
  kind: Kind,
  width: number,
  format: Format,
  args: Doc,
  more: Partial<Spec<V>> = {},
): Spec<V> => {
  const place: Place = args.length === 2 ? args[0] : {};
  return {
    kind,
    width,
    format: place.as ?? format,
    doc: args.length === 2 ? args[1] : args[0],
    at: place.at,
    bit: place.bit,
    tag: place.tag,
    stride: 4,
    count: 1,
    of: undefined,
    ...more,
  };
};

export const u8 = (...a: Doc): Spec<number> => spec('uint', 8, 'hex', a);
export const u16 = (...a: Doc): Spec<number> => spec('uint', 16, 'hex', a);
export const u32 = (...a: Doc): Spec<number> => spec('uint', 32, 'hex', a);
/** Two words; model code sees a number, exact up to 53 bits, all ones kept apart. */
export const u64 = (...a: Doc): Spec<number> => spec('uint', 64, 'hex', a);
export const s32 = (...a: Doc): Spec<number> => spec('int', 32, 'dec', a);
export const counter = (...a: Doc): Spec<number> => spec('uint', 32, 'dec', a);
export const flag = (...a: Doc): Spec<boolean> => spec('flag', 1, 'bool', a);
/** A frame number of the pool, −1 for none: stale ones are ordinary values. */
export const pfn = (...a: Doc): Spec<number> => spec('int', 32, 'pfn', a);
export const oneOf = (names: { readonly [name: string]: number }, ...a: Doc): Spec<number> =>
  spec('uint', 32, names, a);
export const bits = (width: number, ...a: Doc): Spec<Bits> => spec('bits', width, 'vector', a);
/** 256 bits as the APIC page has them: a 32-bit word in every 16 bytes. */
export const vectors = (...a: Doc): Spec<Bits> => spec('bits', 256, 'vector', a, { stride: 16 });
export const bytes = (count: number, ...a: Doc): Spec<Bytes> =>
  spec('bytes', 0, 'hex', a, { count });
export const nested = <F extends FieldSpecs>(of: RecordSpec<F>, ...a: Doc): Spec<View<F>> =>
  spec('record', 0, 'hex', a, { of });
/** `count` is a number or the name of a dimension of the machine. */
export const array = <F extends FieldSpecs>(
  of: RecordSpec<F>,
  count: number | string,
  ...a: Doc
): Spec<readonly View<F>[]> => spec('array', 0, 'hex', a, { of, count });

/** Declares a record; `size` in bytes where hardware fixes it. */
export const record = <F extends FieldSpecs>(
  name: string,
  doc: string,
  fields: F,
  size?: number,
): RecordSpec<F> => ({ name, doc, fields, size });

const assertLayout = (condition: boolean, sentence: string): void => {
  if (!condition) throw new Error(`layout: ${sentence}`);
};

const bytesOf = (
  kind: Kind,
  s: Spec<unknown>,
  of: RecordType | undefined,
  count: number,
): number => {
  switch (kind) {
    case 'uint':
    case 'int':
    case 'flag':
      return s.width > 32 ? 8 : 4;
    case 'bits':
      return (Math.ceil(s.width / 32) - 1) * s.stride + 4;
    case 'bytes':
      return Math.ceil(count / 4) * 4;
    case 'record':
      return of?.bytes ?? 0;
    case 'array':
      return (of?.bytes ?? 0) * count;
  }
};

/**
 * Places every field. A field without a place gets words of its own after the one before it,
 * so that "who wrote this" never names a neighbour.
 */
export const layOut = (declared: RecordSpec<FieldSpecs>, dimensions: Dimensions): RecordType => {
  const fields: Field[] = [];
  let next = 0;
  for (const [name, s] of Object.entries(declared.fields)) {
    const count = typeof s.count === 'number' ? s.count : dimensions[s.count];
    assertLayout(count !== undefined, `no dimension ${s.count} for ${declared.name}.${name}`);
    const of = s.of === undefined ? undefined : layOut(s.of, dimensions);
    const at = s.at ?? next;
    const word = Math.floor(at / 4) * 4;
    const bit = (at - word) * 8 + (s.bit ?? 0);
    assertLayout(
      s.width > 32 || s.kind === 'bits' || bit + s.width <= 32,
      `${declared.name}.${name} crosses a word`,
    );
    fields.push({
      name,
      kind: s.kind,
      offset: word,
      bit,
      width: s.width,
      format: s.format,
      doc: s.doc,
      stride: s.stride,
      count: count ?? 0,
      of,
      tag: s.tag ?? -1,
    });
    next = Math.max(next, word + bytesOf(s.kind, s, of, count ?? 0));
  }
  assertLayout(
    declared.size === undefined || next <= declared.size,
    `${declared.name} has ${next} bytes, more than ${declared.size}`,
  );
  return { name: declared.name, doc: declared.doc, bytes: declared.size ?? next, fields };
};
