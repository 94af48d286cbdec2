/**
 * Accessors: `vcpu.pi_desc.on = true` on top of the arena, made once from the layout.
 * The getters and setters are closures over constants, so that the hot path allocates nothing; they
 * find the arena in the view, so that all machines of a layout run the same compiled code.
 */
import type { Arena } from './arena.ts';
import type { Bits, Bytes, Field, RecordType } from './fields.ts';

const TWO_32 = 0x1_0000_0000;
/** 2⁶⁴ as a double: what an all-ones 64-bit field reads as. */
export const ALL_ONES_64 = 0xffff_ffff * TWO_32 + 0xffff_ffff;

const popcount = (value: number): number => {
  let v = value - ((value >>> 1) & 0x5555_5555);
  v = (v & 0x3333_3333) + ((v >>> 2) & 0x3333_3333);
  return (((v + (v >>> 4)) & 0x0f0f_0f0f) * 0x0101_0101) >>> 24;
};

class BitsView implements Bits {
  readonly arena: Arena;
  readonly first: number;
  readonly step: number;
  readonly width: number;
  readonly wordCount: number;

  constructor(arena: Arena, first: number, step: number, width: number) {
    this.arena = arena;
    this.first = first;
    this.step = step;
    this.width = width;
    this.wordCount = Math.ceil(width / 32);
  }

  has(index: number): boolean {
    return ((this.arena.load(this.first + (index >>> 5) * this.step) >>> (index & 31)) & 1) === 1;
  }

  set(index: number): boolean {
    const word = this.first + (index >>> 5) * this.step;
    const old = this.arena.load(word);
    this.arena.store(word, (old | (1 << (index & 31))) >>> 0);
    return ((old >>> (index & 31)) & 1) === 1;
  }

  clear(index: number): boolean {
    const word = this.first + (index >>> 5) * this.step;
    const old = this.arena.load(word);
    this.arena.store(word, (old & ~(1 << (index & 31))) >>> 0);
    return ((old >>> (index & 31)) & 1) === 1;
  }

  any(): boolean {
    for (let i = 0; i < this.wordCount; i++) if (this.word(i) !== 0) return true;
    return false;
  }

  highest(): number {
    for (let i = this.wordCount - 1; i >= 0; i--) {
      const word = this.word(i);
      if (word !== 0) return i * 32 + 31 - Math.clz32(word);
    }
    return -1;
  }

  count(): number {
    let sum = 0;
    for (let i = 0; i < this.wordCount; i++) sum += popcount(this.word(i));
    return sum;
  }

  word(index: number): number {
    return this.arena.load(this.first + index * this.step);
  }

  setWord(index: number, value: number): void {
    this.arena.store(this.first + index * this.step, value >>> 0);
  }

  clearAll(): void {
    for (let i = 0; i < this.wordCount; i++) if (this.word(i) !== 0) this.setWord(i, 0);
  }
}

class BytesView implements Bytes {
  readonly arena: Arena;
  readonly firstWord: number;
  readonly length: number;

  constructor(arena: Arena, first: number, length: number) {
    this.arena = arena;
    this.firstWord = first;
    this.length = length;
  }

  u32(offset: number): number {
    return this.arena.load(this.firstWord + (offset >>> 2));
  }

  setU32(offset: number, value: number): void {
    this.arena.store(this.firstWord + (offset >>> 2), value >>> 0);
  }

  u8(offset: number): number {
    return (this.u32(offset) >>> ((offset & 3) * 8)) & 0xff;
  }

  setU8(offset: number, value: number): void {
    const shift = (offset & 3) * 8;
    this.setU32(offset, (this.u32(offset) & ~(0xff << shift)) | ((value & 0xff) << shift));
  }
}

interface Based {
  readonly arena: Arena;
  readonly base: number;
}

type Accessor = { get(this: Based): unknown; set(this: Based, value: never): void };

/** A field that has its word to itself, or shares it: read, mask, write. */
const accessor = (field: Field): Accessor => {
  const off = field.offset >>> 2;
  const { bit, width } = field;
  const mask = width === 32 ? 0xffff_ffff : (2 ** Math.min(width, 32) - 1) >>> 0;
  const alone = bit === 0 && width === 32;
  if (field.kind === 'flag') {
    const flagMask = (1 << bit) >>> 0;
    return {
      get() {
        return (this.arena.load(this.base + off) & flagMask) !== 0;
      },
      set(value: boolean) {
        const old = this.arena.load(this.base + off);
        this.arena.store(this.base + off, (value ? old | flagMask : old & ~flagMask) >>> 0);
      },
    };
  }
  if (width === 64) {
    return {
      get() {
        return this.arena.load(this.base + off) + this.arena.load(this.base + off + 1) * TWO_32;
      },
      set(value: number) {
        const ones = value >= ALL_ONES_64;
        this.arena.store(this.base + off, ones ? 0xffff_ffff : value >>> 0);
        this.arena.store(
          this.base + off + 1,
          ones ? 0xffff_ffff : Math.floor(value / TWO_32) >>> 0,
        );
      },
    };
  }
  if (field.kind === 'int') {
    return {
      get() {
        return this.arena.load(this.base + off) | 0;
      },
      set(value: number) {
        this.arena.store(this.base + off, value >>> 0);
      },
    };
  }
  if (alone) {
    return {
      get() {
        return this.arena.load(this.base + off);
      },
      set(value: number) {
        this.arena.store(this.base + off, value >>> 0);
      },
    };
  }
  const place = (mask << bit) >>> 0;
  return {
    get() {
      return (this.arena.load(this.base + off) >>> bit) & mask;
    },
    set(value: number) {
      const rest = this.arena.load(this.base + off) & ~place;
      this.arena.store(this.base + off, (rest | ((value & mask) << bit)) >>> 0);
    },
  };
};

type Built = Based & { [name: string]: unknown };
type Build = (arena: Arena, base: number, index: number) => Built;

const prototypes = new Map<string, object>();

const isScalar = ({ kind }: Field): boolean => kind === 'uint' || kind === 'int' || kind === 'flag';

/**
 * The accessors of a record's own words. Layouts of other dimensions share them where the words are
 * at the same places, so that what one machine has made fast is fast for the next.
 */
const prototypeOf = ({ name, fields }: RecordType): object => {
  const scalars = fields.filter(isScalar);
  const places = scalars.map((f) => [f.name, f.kind, f.offset, f.bit, f.width].join(' '));
  const key = [name, ...places].join('\n');
  const known = prototypes.get(key);
  if (known !== undefined) return known;
  const prototype = {};
  for (const field of scalars) {
    Object.defineProperty(prototype, field.name, { enumerable: true, ...accessor(field) });
  }
  prototypes.set(key, prototype);
  return prototype;
};

const classes = new WeakMap<RecordType, Build>();

/** The prototype with accessors is shared by all instances of a record. */
const builderOf = (type: RecordType): Build => {
  const made = classes.get(type);
  if (made !== undefined) return made;

  const prototype = prototypeOf(type);
  const parts: { readonly name: string; readonly make: (view: Based) => unknown }[] = [];
  const part = (name: string, make: (view: Based) => unknown): void => {
    parts.push({ name, make });
  };
  for (const field of type.fields) {
    const off = field.offset >>> 2;
    switch (field.kind) {
      case 'bits': {
        const step = field.stride >>> 2;
        part(field.name, ({ arena, base }) => new BitsView(arena, base + off, step, field.width));
        break;
      }
      case 'bytes':
        part(field.name, ({ arena, base }) => new BytesView(arena, base + off, field.count));
        break;
      case 'record': {
        const build = builderOf(field.of!);
        part(field.name, ({ arena, base }) => build(arena, base + off, 0));
        break;
      }
      case 'array': {
        const of = field.of!;
        const build = builderOf(of);
        const wordsEach = of.bytes >>> 2;
        part(field.name, ({ arena, base }) =>
          Array.from({ length: field.count }, (_, i) =>
            build(arena, base + off + i * wordsEach, i),
          ),
        );
      }
    }
  }
  const build: Build = (arena, base, index) => {
    const view = Object.assign(Object.create(prototype) as Built, { arena, base, index });
    // Defined, not assigned: V8 turns an object to which many computed names are assigned into a
    // dictionary, where every access is a search.
    for (const { name, make } of parts) {
      Object.defineProperty(view, name, { value: make(view), enumerable: true });
    }
    return view;
  };
  classes.set(type, build);
  return build;
};

/**
 * The accessor object of the record `type` at word `base`.
 * The caller states the type that the declaration of `type` gives (`ViewOf<…>`).
 */
export const viewOf = <V>(arena: Arena, type: RecordType, base = 0): V =>
  builderOf(type)(arena, base, 0) as V;
