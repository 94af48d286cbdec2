/** Reads from the steps of a window at which level each ran, and which sites came up. */
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import type { RecordType } from '#sim/arena/fields.ts';
import { sourceStart, type WindowSource } from '#sim/arena/window_encoder.ts';
import { type ActorWords, actorWordsOf, levelAt } from '#sim/arena/window_sites.ts';

const recentSites = 1024;

export class LaneReader {
  readonly #at: ActorWords;
  readonly #state: Uint32Array;
  /** 1 for each word that holds the site of a stack frame */
  readonly #isSite: Uint8Array;
  readonly #known = new Set<number>();
  /** the last site seen in each slot, so that most sites need no look into the set */
  readonly #recent = new Uint32Array(recentSites);
  #new: number[] = [];
  #out = new Uint8Array(0);

  constructor(layout: RecordType, boot: Uint32Array) {
    const at = actorWordsOf(layout);
    this.#at = at;
    this.#state = new Uint32Array(boot.length);
    this.#isSite = new Uint8Array(boot.length);
    for (let actor = 0; actor < at.count; actor++) {
      for (let depth = 0; depth < at.depthMax; depth++) {
        const word = at.site[actor]! + depth * at.frameWords;
        this.#isSite[word] = 1;
        this.#note(boot[word]!);
      }
    }
  }

  /** Actors of the steps, then their levels; valid until the next call. */
  read(source: WindowSource): Uint8Array {
    const { count, writes, ends, firstEnd, actors } = source;
    if (this.#out.length < count * 2) this.#out = new Uint8Array(count * 2);
    const out = this.#out;
    out.set(actors.subarray(0, count));
    const state = this.#state;
    state.set(source.keyframe);
    const isSite = this.#isSite;
    let i = sourceStart(source);
    for (let k = 0; k < count; k++) {
      out[count + k] = levelAt(state, this.#at, actors[k]!);
      for (const end = ends[firstEnd + k]!; i < end; i += LOG_STRIDE) {
        const word = writes[i]!;
        const value = writes[i + 2]!;
        state[word] = value;
        if (isSite[word] === 1 && this.#recent[value & (recentSites - 1)] !== value) {
          this.#note(value);
        }
      }
    }
    return out.subarray(0, count * 2);
  }

  /** Sites that came up since the last call. */
  takeNewSites(): number[] {
    const taken = this.#new;
    this.#new = [];
    return taken;
  }

  #note(site: number): void {
    this.#recent[site & (recentSites - 1)] = site;
    if (site === 0 || this.#known.has(site)) return;
    this.#known.add(site);
    this.#new.push(site);
  }
}
