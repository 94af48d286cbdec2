/**
 * Finds a machine that goes round in circles: the same states again and again, although everybody
 * who could do something has had a turn.
 */
import { LOG_STRIDE } from '../arena/arena.ts';
import type { RecordType } from '../arena/fields.ts';
import { leavesMatching, wordsOf } from '../arena/leaves.ts';
import type { Machine } from '../steps.ts';
import type { Ready } from './policy.ts';

/** What only counts: it grows while nothing happens. */
const counters = [
  'vm.stat.*',
  'vm.spec.**',
  'vm.mmu_invalidate_seq',
  'vcpu[*].stat.*',
  'vcpu[*].spec.**',
  'cpu[*].ipis',
];

/**
 * How often a cycle has to be gone through, and for how many steps together: a variable of the
 * model is not part of its state, so that a short loop of a function looks the same in each round.
 */
const roundsToBelieve = 3;
const stepsToBelieve = 64;

/** Scrambles a word and its value; the sum over all words tells states apart. */
const scrambled = (word: number, value: number, factor: number): number => {
  const mixed = Math.imul(value ^ (word * 0x9e37_79b1), factor);
  return Math.imul(mixed ^ (mixed >>> 15), 0x2c1b_3c6d);
};

const firstFactor = 0x85eb_ca6b;
const secondFactor = 0xc2b2_ae35;

const ignoredWords = new WeakMap<RecordType, Uint8Array>();

/** For each word of the layout, 1 if it only counts; remembered, because to find out takes long. */
const ignoredIn = (layout: RecordType): Uint8Array => {
  const known = ignoredWords.get(layout);
  if (known !== undefined) return known;
  const ignored = new Uint8Array(layout.bytes >>> 2);
  for (const leaf of counters.flatMap((glob) => leavesMatching(layout, glob))) {
    for (let w = 0; w < wordsOf(leaf); w++) ignored[leaf.word + w * leaf.step] = 1;
  }
  ignoredWords.set(layout, ignored);
  return ignored;
};

export class CycleFinder {
  readonly #ignored: Uint8Array;
  /** two sums over all words, kept up to date by the writes of each step */
  #first = 0;
  #second = 0;
  /** the state that others are compared with, and when it was */
  #savedFirst = 0;
  #savedSecond = 0;
  #savedAt = 0;
  /** steps after which the comparison begins anew from a later state: a power of two */
  #patience = 1;
  #period = 0;
  #rounds = 0;
  /** for each actor: has it taken a step since the saved state, and could it have taken one? */
  readonly #moved: Uint8Array;
  readonly #could: Uint8Array;

  constructor({ layout, threads }: Machine) {
    this.#ignored = ignoredIn(layout);
    this.#moved = new Uint8Array(threads.length);
    this.#could = new Uint8Array(threads.length);
  }

  /**
   * After a step of `actor`; `ready` are those who could have taken it. Steps of the cycle if the
   * machine is in one, else 0.
   */
  stepClosed({ arena }: Machine, actor: number, ready: Ready): number {
    const { writes, used } = arena;
    for (let i = arena.startOf(arena.stepsKept - 1); i < used; i += LOG_STRIDE) {
      const word = writes[i]!;
      const [old, value] = [writes[i + 1]!, writes[i + 2]!];
      if (old === value || this.#ignored[word] === 1) continue;
      this.#first += scrambled(word, value, firstFactor) - scrambled(word, old, firstFactor);
      this.#second += scrambled(word, value, secondFactor) - scrambled(word, old, secondFactor);
    }
    this.#first |= 0;
    this.#second |= 0;
    this.#moved[actor] = 1;
    // Before the state has come again once, nobody asks.
    if (this.#rounds > 0) this.#noteReady(ready);
    const steps = arena.position - this.#savedAt;
    if (this.#first === this.#savedFirst && this.#second === this.#savedSecond) {
      return this.#sameAgain(steps, arena.position);
    }
    if (steps >= this.#patience) this.#saveLater(arena.position);
    return 0;
  }

  #noteReady({ actors, count }: Ready): void {
    for (let i = 0; i < count; i++) this.#could[actors[i]!] = 1;
  }

  #sameAgain(steps: number, position: number): number {
    this.#rounds = steps === this.#period && this.#allMoved() ? this.#rounds + 1 : 1;
    this.#period = steps;
    this.#save(position);
    const believed = this.#rounds >= roundsToBelieve && this.#rounds * steps >= stepsToBelieve;
    return believed ? steps : 0;
  }

  /** Who could have gone somewhere in the round, and was not chosen, could change everything. */
  #allMoved(): boolean {
    for (let i = 0; i < this.#could.length; i++) {
      if (this.#could[i]! > this.#moved[i]!) return false;
    }
    return true;
  }

  #saveLater(position: number): void {
    this.#patience *= 2;
    this.#rounds = 0;
    this.#period = 0;
    this.#save(position);
  }

  #save(position: number): void {
    this.#savedFirst = this.#first;
    this.#savedSecond = this.#second;
    this.#savedAt = position;
    this.#moved.fill(0);
    this.#could.fill(0);
  }
}
