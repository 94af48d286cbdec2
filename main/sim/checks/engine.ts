/**
 * Evaluates checks as steps are closed, on a running machine or on a recorded one.
 * A check costs only when a word that it may read was written.
 */
import { LOG_STRIDE } from '../arena/arena.ts';
import type { RecordType } from '../arena/fields.ts';
import { leavesMatching, wordsOf } from '../arena/leaves.ts';
import type { MachineView } from '../state/machine.ts';
import type { Check, Finding } from './check.ts';

/** Part of the arena's log, or of a decoded window: entries `start` to `end`. */
export interface StepWrites {
  readonly writes: Uint32Array;
  readonly start: number;
  readonly end: number;
}

/** Which checks a word concerns: the same for every machine of a layout. */
interface ReadIndex {
  /** for each word, the number of a set of checks that read it; 0 is the empty set */
  readonly setOf: Uint16Array;
  readonly sets: readonly (readonly number[])[];
  /** for each word, i + 1 if it is `vcpu[i].non_root`, else 0 */
  readonly nonRootOf: Uint8Array;
  /** for each word, the vCPUs that it concerns, as a mask: one, or all if it belongs to none */
  readonly vcpusOf: Int32Array;
}

/** Words with the checks that read them. */
const readersOf = (layout: RecordType, checks: readonly Check[]): Map<number, number[]> => {
  const readers = new Map<number, number[]>();
  for (const [i, check] of checks.entries()) {
    if (check.when !== 'step') continue;
    for (const glob of check.reads) {
      const leaves = leavesMatching(layout, glob);
      if (leaves.length === 0) throw new Error(`${check.id} reads ${glob}, which is no field`);
      for (const leaf of leaves) {
        for (let w = 0; w < wordsOf(leaf); w++) {
          const word = leaf.word + w * leaf.step;
          const list = readers.get(word) ?? [];
          if (!list.includes(i)) readers.set(word, [...list, i]);
        }
      }
    }
  }
  return readers;
};

const everyVcpu = ~0;

/** The vCPUs that each word concerns. */
const ownersIn = (layout: RecordType): Int32Array => {
  const vcpusOf = new Int32Array(layout.bytes >>> 2).fill(everyVcpu);
  const vcpus = layout.fields.find(({ name }) => name === 'vcpu');
  if (vcpus?.of === undefined) return vcpusOf;
  const first = vcpus.offset >>> 2;
  const each = vcpus.of.bytes >>> 2;
  for (let i = 0; i < vcpus.count; i++) {
    vcpusOf.fill(1 << i, first + i * each, first + (i + 1) * each);
  }
  return vcpusOf;
};

const buildIndex = (layout: RecordType, checks: readonly Check[]): ReadIndex => {
  const readers = readersOf(layout, checks);
  const nonRootOf = new Uint8Array(layout.bytes >>> 2);
  for (const [i, { word }] of leavesMatching(layout, 'vcpu[*].non_root').entries()) {
    nonRootOf[word] = i + 1;
    if (!readers.has(word)) readers.set(word, []);
  }
  const setOf = new Uint16Array(layout.bytes >>> 2);
  const sets: (readonly number[])[] = [[]];
  const numbers = new Map<string, number>();
  for (const [word, list] of readers) {
    const key = list.join();
    const number = numbers.get(key) ?? sets.push(list) - 1;
    numbers.set(key, number);
    setOf[word] = number;
  }
  return { setOf, sets, nonRootOf, vcpusOf: ownersIn(layout) };
};

const indexes = new WeakMap<RecordType, Map<readonly Check[], ReadIndex>>();

/** The index is remembered: building it costs more than a short run. */
const indexOf = (layout: RecordType, checks: readonly Check[]): ReadIndex => {
  const known = indexes.get(layout) ?? new Map<readonly Check[], ReadIndex>();
  indexes.set(layout, known);
  const index = known.get(checks) ?? buildIndex(layout, checks);
  known.set(checks, index);
  return index;
};

export class CheckEngine {
  readonly findings: Finding[] = [];
  /** evaluations of a predicate so far */
  evaluations = 0;

  readonly #machine: MachineView;
  readonly #checks: readonly Check[];
  readonly #vcpus: number;
  readonly #index: ReadIndex;
  readonly #entryChecks: readonly number[];
  readonly #exitChecks: readonly number[];
  readonly #broken = new Set<number>();
  /** the checks that the step concerns, each once, in the order in which they were met */
  readonly #due: Uint16Array;
  /** for each check, the vCPUs that it is due for, as a mask; 0: it is not due */
  readonly #dueFor: Int32Array;

  constructor(machine: MachineView, layout: RecordType, checks: readonly Check[]) {
    this.#machine = machine;
    this.#checks = checks;
    this.#vcpus = machine.vcpu.length;
    this.#index = indexOf(layout, checks);
    this.#due = new Uint16Array(checks.length);
    this.#dueFor = new Int32Array(checks.length);
    this.#entryChecks = checks.flatMap((c, i) => (c.when === 'entry' ? [i] : []));
    this.#exitChecks = checks.flatMap((c, i) => (c.when === 'exit' ? [i] : []));
  }

  /** Checks the state that step `step` of `actor` led to. */
  stepClosed(log: StepWrites, step: number, actor: number): void {
    const { setOf, sets, nonRootOf, vcpusOf } = this.#index;
    const { writes, end } = log;
    const due = this.#due;
    const dueFor = this.#dueFor;
    let dueCount = 0;
    let entered = 0;
    let left = 0;
    for (let i = log.start; i < end; i += LOG_STRIDE) {
      const word = writes[i]!;
      const set = setOf[word]!;
      if (set === 0) continue;
      const guest = nonRootOf[word]!;
      if (guest !== 0 && writes[i + 1] === 0 && writes[i + 2] === 1) entered = guest;
      if (guest !== 0 && writes[i + 1] === 1 && writes[i + 2] === 0) left = guest;
      const readers = sets[set]!;
      const vcpus = vcpusOf[word]!;
      for (let k = 0; k < readers.length; k++) {
        const check = readers[k]!;
        if (dueFor[check] === 0) due[dueCount++] = check;
        dueFor[check]! |= vcpus;
      }
    }
    for (let k = 0; k < dueCount; k++) {
      const vcpus = dueFor[due[k]!]!;
      dueFor[due[k]!] = 0;
      this.#evaluate(due[k]!, vcpus, step, actor);
    }
    if (entered > 0) this.#atBoundary(this.#entryChecks, entered - 1, step, actor);
    if (left > 0) this.#atBoundary(this.#exitChecks, left - 1, step, actor);
  }

  /** Checks what must hold once nobody can move any more. */
  quiet(step: number, actor: number): void {
    for (const [i, check] of this.#checks.entries()) {
      if (check.when === 'quiet') this.#evaluate(i, everyVcpu, step, actor);
    }
  }

  #atBoundary(checks: readonly number[], vcpu: number, step: number, actor: number): void {
    for (let k = 0; k < checks.length; k++) this.#evaluateOn(checks[k]!, vcpu, step, actor);
  }

  #evaluate(index: number, vcpus: number, step: number, actor: number): void {
    if (this.#checks[index]!.per === 'machine') {
      this.#evaluateOn(index, -1, step, actor);
      return;
    }
    for (let v = 0; v < this.#vcpus; v++) {
      if ((vcpus & (1 << v)) !== 0) this.#evaluateOn(index, v, step, actor);
    }
  }

  #evaluateOn(index: number, vcpu: number, step: number, actor: number): void {
    const check = this.#checks[index]!;
    this.evaluations++;
    const violation = check.broken(this.#machine, vcpu);
    if (violation === undefined && this.#broken.size === 0) return;
    const key = index * 64 + vcpu + 1;
    if (violation === undefined) {
      this.#broken.delete(key);
    } else if (!this.#broken.has(key)) {
      this.#broken.add(key);
      this.findings.push({ check: check.id, position: step + 1, step, actor, vcpu, ...violation });
    }
  }
}
