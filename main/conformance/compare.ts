// Compares what a case expects with what was read from the machine, and names every difference.

import { isObject, type Json, type JsonObject, type Observed } from './adapter.ts';

export interface Difference {
  /** `irr`, `per_vcpu[1].irr_added`, `vapic.0x080` */
  readonly path: string;
  readonly expected: Json;
  /** undefined where there is no such value; a sentence where it could not be read */
  readonly got: Json | undefined;
}

/** Keys that say how another key is compared, and are no values themselves. */
const maskEnding = '_mask';
const toleranceKey = 'tolerance_percent';

/**
 * Records of which a case names the words it checks; all other records are compared whole, so that
 * an empty one means "nothing".
 */
const partial: ReadonlySet<string> = new Set([
  'apic_access_page',
  'internal',
  'kvm_get_lapic',
  'l1_lapic',
  'regs_after_init',
  'vapic',
  'vmcs01',
]);

interface Manner {
  readonly partial: boolean;
  /** a number, or a number for each word */
  readonly mask: Json | undefined;
  /** how much a number may be off, in percent */
  readonly tolerance: number;
}

/** Differences in the keys that `expect` has, read one by one. */
export function differences(
  expect: JsonObject,
  observe: (key: string, expected: Json) => Observed,
): Difference[] {
  const found: Difference[] = [];
  for (const [key, expected] of Object.entries(expect)) {
    if (describesAnother(key, expect)) continue;
    const manner = {
      partial: partial.has(key),
      mask: expect[key + maskEnding],
      tolerance: Number(expect[toleranceKey] ?? 0),
    };
    compare({ path: key, found, manner }, expected, read(observe, key, expected));
  }
  return found;
}

function describesAnother(key: string, expect: JsonObject): boolean {
  if (key === toleranceKey) return true;
  return key.endsWith(maskEnding) && Object.hasOwn(expect, key.slice(0, -maskEnding.length));
}

/** What could not be read, in place of the value. */
class Unreadable {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

function read(
  observe: (key: string, expected: Json) => Observed,
  key: string,
  expected: Json,
): Observed | Unreadable {
  try {
    return observe(key, expected);
  } catch (error) {
    return new Unreadable(error instanceof Error ? error.message : String(error));
  }
}

interface Place {
  readonly path: string;
  readonly found: Difference[];
  readonly manner: Manner;
}

function compare(place: Place, expected: Json, got: Observed | Unreadable): void {
  if (got instanceof Unreadable) place.found.push({ path: place.path, expected, got: got.why });
  else if (Array.isArray(expected)) compareLists(place, expected, got);
  else if (isObject(expected)) compareRecords(place, expected, got);
  else if (!sameValue(expected, got, place.manner)) differ(place, expected, got);
}

const differ = ({ path, found }: Place, expected: Json, got: Observed): void => {
  found.push({ path, expected, got: shown(got, expected) });
};

/** Lists of plain values differ as a whole; of lists of records the elements do. */
function compareLists(place: Place, expected: readonly Json[], got: Observed): void {
  if (!Array.isArray(got) || got.length !== expected.length) {
    differ(place, expected, got);
    return;
  }
  const nested = expected.some((one) => typeof one === 'object' && one !== null);
  if (!nested && expected.some((one, i) => !sameValue(one, got[i], place.manner))) {
    differ(place, expected, got);
    return;
  }
  if (!nested) return;
  for (const [i, one] of expected.entries()) {
    compare({ ...place, path: `${place.path}[${i}]` }, one, got[i]);
  }
}

function compareRecords(place: Place, expected: JsonObject, got: Observed): void {
  if (!isRecord(got)) {
    differ(place, expected, got);
    return;
  }
  const names = new Map(Object.keys(got).map((name) => [wordName(name), name]));
  for (const [name, one] of Object.entries(expected)) {
    const inner = { ...place, path: `${place.path}.${name}`, manner: wordManner(place, name) };
    const there = names.get(wordName(name));
    compare(inner, one, there === undefined ? undefined : got[there]);
  }
  if (place.manner.partial) return;
  const wanted = new Set(Object.keys(expected).map(wordName));
  for (const [plain, name] of names) {
    if (wanted.has(plain) || got[name] === undefined) continue;
    place.found.push({ path: `${place.path}.${name}`, expected: 'nothing', got: shown(got[name]) });
  }
}

const isRecord = (got: Observed): got is { readonly [key: string]: Observed } =>
  typeof got === 'object' && got !== null && !Array.isArray(got);

const hexForm = /^0x[0-9a-f]+$/i;

/** Offsets are the same however many zeros they are written with. */
const wordName = (name: string): string => (hexForm.test(name) ? String(Number(name)) : name);

function wordManner({ manner }: Place, name: string): Manner {
  const { mask } = manner;
  return { ...manner, partial: false, mask: isObject(mask) ? mask[name] : mask };
}

/** Numbers compare by value, whether they are written in hex or not; −1 and null are "none". */
function sameValue(expected: Json, got: Observed, manner: Manner): boolean {
  const [a, b] = [wholeNumber(expected), wholeNumber(got)];
  if (a === undefined || b === undefined) return expected === got || bothNone(expected, got);
  const mask = wholeNumber(manner.mask);
  if (mask !== undefined) return (a & mask) === (b & mask);
  if (manner.tolerance > 0) {
    return Math.abs(Number(b - a)) * 100 <= Math.abs(Number(a)) * manner.tolerance;
  }
  return a === b;
}

const bothNone = (expected: Json, got: Observed): boolean =>
  (expected === null && got === -1) || (expected === -1 && got === null);

function wholeNumber(value: Json | Observed): bigint | undefined {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  return typeof value === 'string' && hexForm.test(value) ? BigInt(value) : undefined;
}

/** A value as JSON, in the form of what was expected in its place. */
export function shown(got: Observed, expected?: Json): Json | undefined {
  if (typeof got === 'bigint' || typeof got === 'number') return shownNumber(got, expected);
  if (Array.isArray(got)) {
    const like = Array.isArray(expected) ? expected : [];
    return got.map((one: Observed, i) => shown(one, like[i] ?? like[0]) ?? null);
  }
  if (!isRecord(got)) return got as string | boolean | null | undefined;
  const like = isObject(expected) ? expected : {};
  return Object.fromEntries(
    Object.entries(got).flatMap(([name, one]) => {
      const value = shown(one, like[name]);
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

function shownNumber(got: bigint | number, expected: Json | undefined): Json {
  const digits =
    typeof expected === 'string' && hexForm.test(expected) ? expected.length - 2 : undefined;
  if (digits !== undefined && got >= 0) return `0x${got.toString(16).padStart(digits, '0')}`;
  if (typeof got === 'number') return got;
  return Number.isSafeInteger(Number(got)) ? Number(got) : `0x${got.toString(16)}`;
}
