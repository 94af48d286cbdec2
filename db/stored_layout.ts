/** Checks a layout that a file claims before anything is built from it. */
import type { Field, Format, Kind, RecordType } from '#sim/arena/fields.ts';
import { demand } from './failure.ts';

/** Words of the largest machine that is opened: 16 MB. */
export const wordsMax = 1 << 22;
const leavesMax = 1 << 21;
const depthMax = 16;
const kinds: readonly Kind[] = ['uint', 'int', 'flag', 'bits', 'bytes', 'record', 'array'];
const formats: readonly Format[] = [
  'dec',
  'hex',
  'bool',
  'vector',
  'pfn',
  'gpa',
  'hpa',
  'gfn',
  'site',
];

export type Json = { readonly [key: string]: unknown };

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const isCount = (value: unknown, max: number): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;

const isFormat = (value: unknown): value is Format =>
  isObject(value)
    ? Object.values(value).every((v) => typeof v === 'number')
    : formats.includes(value as Format);

const hasPlainParts = (f: Json): boolean =>
  typeof f['name'] === 'string' &&
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(f['name']) &&
  kinds.includes(f['kind'] as Kind) &&
  isFormat(f['format']) &&
  typeof f['doc'] === 'string' &&
  Number.isInteger(f['tag']);

const hasPlace = (f: Json): boolean =>
  isCount(f['offset'], wordsMax * 4) &&
  f['offset'] % 4 === 0 &&
  isCount(f['bit'], 31) &&
  isCount(f['width'], wordsMax * 32) &&
  isCount(f['stride'], 4096) &&
  f['stride'] % 4 === 0 &&
  f['stride'] > 0 &&
  isCount(f['count'], wordsMax * 4);

const bytesOf = (f: Field): number => {
  switch (f.kind) {
    case 'uint':
    case 'int':
    case 'flag':
      return f.width > 32 ? 8 : 4;
    case 'bits':
      return (Math.ceil(f.width / 32) - 1) * f.stride + 4;
    case 'bytes':
      return Math.ceil(f.count / 4) * 4;
    case 'record':
      return f.of?.bytes ?? Number.NaN;
    case 'array':
      return (f.of?.bytes ?? Number.NaN) * f.count;
  }
};

const widthFits = (f: Field): boolean => {
  if (f.kind === 'bits') return f.width > 0;
  if (f.kind === 'flag') return f.width === 1;
  if (f.kind === 'uint') return f.width > 0 && (f.width === 64 || f.bit + f.width <= 32);
  return f.kind === 'int' ? f.width === 32 : f.width === 0;
};

/** Checks a record type and gives the number of its leaves. */
const checkRecord = (value: unknown, depth: number): number => {
  demand(depth < depthMax, `the records of its layout are nested deeper than ${depthMax}`);
  demand(isObject(value), 'a record of its layout is none');
  const { fields, bytes, name } = value;
  demand(
    typeof name === 'string' &&
      typeof value['doc'] === 'string' &&
      isCount(bytes, wordsMax * 4) &&
      bytes % 4 === 0 &&
      Array.isArray(fields),
    'a record of its layout has no name, size or fields',
  );
  let leaves = 0;
  for (const field of fields as unknown[]) {
    demand(
      isObject(field) && hasPlainParts(field) && hasPlace(field),
      `a field of ${name} in its layout is not well-formed`,
    );
    leaves += checkField(field as unknown as Field, { record: name, bytes, depth });
    demand(leaves <= leavesMax, `its layout has more than ${leavesMax} fields`);
  }
  return leaves;
};

const checkField = (
  field: Field,
  place: { record: string; bytes: number; depth: number },
): number => {
  const isNested = field.kind === 'record' || field.kind === 'array';
  const leavesEach = isNested ? checkRecord(field.of, place.depth + 1) : 1;
  demand(
    widthFits(field) && field.offset + bytesOf(field) <= place.bytes,
    `${place.record}.${field.name} does not fit its place in the layout`,
  );
  // Nothing times a million is still a million visits.
  demand(leavesEach > 0, `${place.record}.${field.name} has no fields in the layout`);
  return field.kind === 'array' ? leavesEach * field.count : leavesEach;
};

/** The layout, if it is one: every field lies inside its record, and its size is sane. */
export const checkedLayout = (value: unknown): RecordType => {
  checkRecord(value, 0);
  const layout = value as RecordType;
  demand(layout.bytes > 0, 'its machine has no words');
  return layout;
};
