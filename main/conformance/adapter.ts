// What a model of the conformance cases has to offer: tables of small functions by name.
//
// A case is run so: `prepare` gives a machine for the case, `givens` lay the state on it,
// `settle` ends the set-up; then, for the operation or for each step of a sequence, `before` looks
// at the machine, the operation runs, and every key of `expect` is read and compared.
// A name that no table has makes the case fail; nothing is skipped in silence.

import { defaultProfile } from '#sim/state/switches.ts';
import type { Machine } from '#sim/steps.ts';

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * What is read from the machine, to be compared with the words of a case. Numbers stand for hex
 * strings too ("0x10" equals 16); `undefined` is a value that does not exist. Sets are ascending.
 */
export type Observed =
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly Observed[]
  | { readonly [key: string]: Observed };

/** What an operation answers at once (`outcome`, `value`, `return` …), by the keys of `expect`. */
export type Answer = Readonly<Record<string, Observed>>;

/** A prepared machine with what belongs to one case; models add their own fields. */
export interface Bench {
  readonly m: Machine;
}

/** What `prepare` is told. */
export interface Plan {
  readonly suite: string;
  /** the id of the case */
  readonly id: string;
  /** `given`, with the suite's `defaults` under it */
  readonly given: JsonObject;
  /** the kernel that is modelled */
  readonly profile: string;
}

/** Lays one key of `given` on the machine. */
export type Give<B> = (bench: B, value: Json, given: JsonObject) => void;
/** Performs an operation; a key of `expect` that no reader has is taken from its answer. */
export type Operate<B> = (bench: B, op: JsonObject) => Answer | undefined;
/** Reads what a key of `expect` is about. `expected` is only for the form of the answer. */
export type Read<B> = (bench: B, expected: Json, answer: Answer) => Observed;

/** The tables; those of a suite come before those of the model. */
export interface Tables<B> {
  /** the newest kernel that can give the answers of the suite, if that is not the newest of all */
  readonly profile?: string;
  /** applied in the order of this table; `unused` for keys that `prepare` has read */
  readonly givens?: Readonly<Record<string, Give<B>>>;
  readonly ops?: Readonly<Record<string, Operate<B>>>;
  readonly expects?: Readonly<Record<string, Read<B>>>;
  /** after each operation, before its `expect` is read: what the notes say is "served" */
  readonly after?: (bench: B, op: JsonObject) => void;
}

export interface AdapterSpec<B extends Bench> extends Tables<B> {
  /** the `model` of the suites it runs */
  readonly model: string;
  prepare(plan: Plan): B;
  /** the last thing of the set-up */
  readonly settle?: (bench: B) => void;
  /** before each operation: takes the pictures that `changed` is measured against */
  readonly before?: (bench: B, op: JsonObject) => void;
  /** by the name of the suite */
  readonly suites?: Readonly<Record<string, Tables<B>>>;
}

/** A case under way. */
export interface Trial {
  perform(op: JsonObject): Answer;
  /** called behind the last operation, before what holds at the end is observed */
  finish?(): void;
  observe(key: string, expected: Json, answer: Answer): Observed;
}

/** An adapter as the runner sees it. */
export interface Adapter {
  readonly model: string;
  /** the kernel that a suite is about, unless the run asks for one */
  profileFor(suite: string): string;
  start(plan: Plan): Trial;
}

/** A name that a case uses and no table has. */
export class UnknownName extends Error {
  override readonly name = 'UnknownName';
  constructor(kind: 'given' | 'op' | 'expect', name: string) {
    super(`no adapter knows ${kind} "${name}"`);
  }
}

/** For keys of `given` that `prepare` or an operation reads by itself. */
export const unused = (): void => undefined;

const own = <T>(table: Readonly<Record<string, T>> | undefined, name: string): T | undefined =>
  table !== undefined && Object.hasOwn(table, name) ? table[name] : undefined;

/** Makes the runner's form of an adapter; `B` is known to nobody else. */
export function adapter<B extends Bench>(spec: AdapterSpec<B>): Adapter {
  return {
    model: spec.model,
    profileFor: (suite) => own(spec.suites, suite)?.profile ?? defaultProfile,
    start: (plan) => startTrial(spec, plan),
  };
}

function startTrial<B extends Bench>(spec: AdapterSpec<B>, plan: Plan): Trial {
  const special = own(spec.suites, plan.suite);
  const givens = { ...spec.givens, ...special?.givens };
  for (const key of Object.keys(plan.given)) {
    if (own(givens, key) === undefined) throw new UnknownName('given', key);
  }
  const bench = spec.prepare(plan);
  for (const [key, give] of Object.entries(givens)) {
    const value = own(plan.given, key);
    if (value !== undefined) give(bench, value, plan.given);
  }
  spec.settle?.(bench);
  return {
    perform: (op) => {
      const name = String(op['op']);
      const operate = own(special?.ops, name) ?? own(spec.ops, name);
      if (operate === undefined) throw new UnknownName('op', name);
      spec.before?.(bench, op);
      const answer = operate(bench, op) ?? {};
      (special?.after ?? spec.after)?.(bench, op);
      return answer;
    },
    observe: (key, expected, answer) => {
      const read = own(special?.expects, key) ?? own(spec.expects, key);
      if (read !== undefined) return read(bench, expected, answer);
      if (Object.hasOwn(answer, key)) return answer[key];
      throw new UnknownName('expect', key);
    },
  };
}
