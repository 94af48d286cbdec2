// Reads files of conformance cases: their form is checked here, so that nothing later has to.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../input_error.ts';
import { isObject, type Json, type JsonObject } from './adapter.ts';

/** An operation and what must hold right after it. */
export interface CaseStep {
  readonly op: JsonObject;
  readonly expect: JsonObject;
}

export interface Case {
  readonly id: string;
  /** with the suite's `defaults` under it */
  readonly given: JsonObject;
  readonly steps: readonly CaseStep[];
  /** what must hold at the end */
  readonly expect: JsonObject;
  /** words of `expect` that Linux 6.16 answered differently */
  readonly expectV616: JsonObject;
  /** the step from which on Linux 6.16 went another way */
  readonly differsInV616From: number | undefined;
  /** is it a sequence? */
  readonly sequence: boolean;
}

export interface Suite {
  readonly suite: string;
  /** name of the file without its ending */
  readonly file: string;
  readonly model: string;
  readonly cases: readonly Case[];
}

const object = z.record(z.string(), z.unknown());
const operation = z.looseObject({ op: z.string() });

const caseShape = z.looseObject({
  id: z.string().min(1),
  given: object.optional(),
  op: operation.optional(),
  sequence: z.array(operation.extend({ expect: object.optional() })).optional(),
  expect: object,
  'expect_v6.16': object.optional(),
  'differs_in_v6.16_from_step': z.number().int().min(0).optional(),
});

const fileShape = z.looseObject({
  schema: z.literal('apic-conformance/1'),
  suite: z.string().min(1),
  kind: z.enum(['table', 'sequence']),
  model: z.string().min(1),
  defaults: object.optional(),
  case_count: z.number().int().optional(),
  cases: z.array(caseShape),
});

type FileShape = z.infer<typeof fileShape>;
type CaseShape = z.infer<typeof caseShape>;

/** The suites of files and folders, in the order of the arguments and then by name. */
export const loadSuites = (paths: readonly string[]): Suite[] =>
  paths.flatMap(filesAt).map(loadSuite);

/** A file itself; of a folder every `.json` in it. */
function filesAt(path: string): string[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw new InputError(`There is no file or folder "${path}"; name one with conformance cases.`);
  }
  if (!stat.isDirectory()) return [path];
  const names = readdirSync(path).filter((name) => name.endsWith('.json'));
  if (names.length === 0) {
    throw new InputError(`The folder "${path}" has no .json file; name one with case files.`);
  }
  return names.sort().map((name) => join(path, name));
}

function loadSuite(path: string): Suite {
  const file = fileShape.safeParse(readJson(path));
  if (!file.success) throw new InputError(`${path}: ${firstFault(file.error)}`, { file: path });
  const { suite, model, cases, case_count } = file.data;
  if (case_count !== undefined && case_count !== cases.length) {
    throw new InputError(
      `${path}: case_count is ${case_count}, but there are ${cases.length} cases; correct it.`,
      { file: path },
    );
  }
  const made = cases.map((one) => caseOf(path, file.data, one));
  return { suite, file: basename(path, '.json'), model, cases: made };
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new InputError(`${path} cannot be read: ${sentenceOf(error)}`, { file: path });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InputError(`${path} is not JSON: ${sentenceOf(error)}`, { file: path });
  }
}

const sentenceOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** One sentence for what zod found first. */
function firstFault(error: z.ZodError): string {
  const [issue] = error.issues;
  const where = issue!.path.map((part) =>
    typeof part === 'number' ? `[${part}]` : `.${String(part)}`,
  );
  return `${where.join('').replace(/^\./, '') || 'the document'} is wrong: ${issue!.message}.`;
}

function caseOf(path: string, file: FileShape, one: CaseShape): Case {
  const wanted = file.kind === 'table' ? 'op' : 'sequence';
  const other = file.kind === 'table' ? 'sequence' : 'op';
  if (one[wanted] === undefined || one[other] !== undefined) {
    throw new InputError(
      `${path}: case ${one.id} of a ${file.kind} must have "${wanted}" and no "${other}".`,
      { file: path, case: one.id },
    );
  }
  // What JSON.parse made, and zod looked into, is JSON.
  const json = (value: object | undefined): JsonObject => (value ?? {}) as JsonObject;
  const steps =
    one.op !== undefined
      ? [{ op: json(one.op), expect: {} }]
      : one.sequence!.map(({ expect, ...op }) => ({ op: json(op), expect: json(expect) }));
  return {
    id: one.id,
    given: merged(json(file.defaults), json(one.given)),
    steps,
    expect: json(one.expect),
    expectV616: json(one['expect_v6.16']),
    differsInV616From: one['differs_in_v6.16_from_step'],
    sequence: one.sequence !== undefined,
  };
}

/** `over` laid over `under`, record by record; a list is taken whole. */
export const merged = (under: JsonObject, over: JsonObject): JsonObject =>
  Object.fromEntries([
    ...Object.entries(under),
    ...Object.entries(over).map(([key, value]): [string, Json] => {
      const below = Object.hasOwn(under, key) ? under[key] : undefined;
      return [key, isObject(below) && isObject(value) ? merged(below, value) : value];
    }),
  ]);
