// Which functions of the model write which declared field, seen while scenarios run.

import type { Field, RecordType } from '#sim/arena/fields.ts';
import { boot } from '#sim/boot.ts';
import { wantsLock } from '#sim/host/locks.ts';
import { Run } from '#sim/sched/run.ts';
import type { Machine } from '#sim/steps.ts';
import { choosePolicy } from '../../../main/policy_choice.ts';
import { compileLibrary, stepsMaxOfTests } from '../scenario_run.ts';

/** The functions between a write and its actor, the innermost first. */
export type Chain = readonly string[];
/** By `record.field`; a chain once. */
type Observed = Map<string, Map<string, Chain>>;

interface Declared {
  readonly name: string;
  /** bits of the word that are the field's */
  readonly mask: number;
}

const maskOf = ({ kind, width, bit }: Field): number =>
  kind === 'bits' || kind === 'bytes' || width >= 32 ? 0xffff_ffff : (2 ** width - 1) << bit;

/** The declared fields that each word of the machine belongs to. */
const declaredAt = (layout: RecordType): Declared[][] => {
  const words: Declared[][] = [];
  const note = (type: RecordType, field: Field, at: number): void => {
    const count = field.kind === 'bytes' ? field.count / 4 : Math.ceil(field.width / 32);
    const declared = { name: `${type.name}.${field.name}`, mask: maskOf(field) };
    for (let i = 0; i < count; i++) {
      const word = at + i * (field.stride >>> 2);
      words[word] = [...(words[word] ?? []), declared];
    }
  };
  const visit = (type: RecordType, base: number): void => {
    for (const field of type.fields) {
      const { of, kind } = field;
      const at = base + (field.offset >>> 2);
      const count = kind === 'array' ? field.count : 1;
      if (of === undefined) note(type, field, at);
      else for (let i = 0; i < count; i++) visit(of, at + i * (of.bytes >>> 2));
    }
  };
  visit(layout, 0);
  return words;
};

const modelFile = /\/main\/sim\/(?!arena\/|sched\/)/;
const runnerFile = /\/main\/sim\/steps\.ts/;

const stackOf = (_: unknown, sites: NodeJS.CallSite[]): string[] => {
  const ofModel = sites.filter((site) => modelFile.test(site.getFileName() ?? ''));
  // What the runner keeps of stacks is not written by the function whose step it begins.
  if (runnerFile.test(ofModel[0]?.getFileName() ?? '')) return [];
  return ofModel
    .filter((site) => !runnerFile.test(site.getFileName() ?? ''))
    .map((site) => site.getFunctionName()?.split('.').at(-1) ?? '');
};

/** The functions of the model on the stack of JavaScript: those within the step. */
const functionsNow = (): string[] => {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.prepareStackTrace = stackOf;
  Error.stackTraceLimit = 30;
  const names = new Error().stack as unknown as string[];
  Error.prepareStackTrace = prepareStackTrace;
  Error.stackTraceLimit = stackTraceLimit;
  return names;
};

/** Functions that are being called in the actor, the innermost first. */
const callsOf = (m: Machine): string[] =>
  m.threads[m.current]!.calls.map(({ info }) => info.name).reverse();

const watchStores = (m: Machine, observed: Observed, seen: Set<string>): void => {
  const { arena } = m;
  const words = declaredAt(m.layout);
  const store = arena.store.bind(arena);
  const note = (name: string): void => {
    const key = `${callsOf(m).join()} ${m.siteBefore(m.current)} ${name}`;
    if (seen.has(key)) return;
    seen.add(key);
    const inStep = functionsNow();
    if (inStep.length === 0) return;
    const chain = [...new Set([...inStep, ...callsOf(m)])];
    const chains = observed.get(name) ?? new Map<string, Chain>();
    observed.set(name, chains.set(chain.join(' '), chain));
  };
  arena.store = (word, value) => {
    const changed = arena.words[word]! ^ value;
    store(word, value);
    const fields = words[word]!;
    for (const { name, mask } of fields) {
      if (fields.length === 1 || (changed & mask) !== 0) note(name);
    }
  };
};

/** What the steps of the scenarios write, and through which functions. */
export const observedIn = (ids: readonly string[]): Observed => {
  const observed: Observed = new Map();
  const seen = new Set<string>();
  for (const id of ids) {
    const scenario = compileLibrary(id);
    const machine = boot(scenario.config);
    watchStores(machine, observed, seen);
    const { policy } = choosePolicy(scenario, {});
    const watchers = [{ stepClosed: (m: Machine) => m.arena.dropLog() }];
    const run = new Run(machine, { policy, watchers, stepsMax: stepsMaxOfTests, wantsLock });
    run.advance(Number.POSITIVE_INFINITY);
  }
  return observed;
};
