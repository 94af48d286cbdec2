/** What chooses the next actor. A policy answers one question, and knows only the machine. */
import type { Machine } from '../steps.ts';

/** The actors that can take a step, in order of their index. */
export interface Ready {
  readonly actors: Uint8Array;
  count: number;
}

/** A policy may also end the run: a schedule that is used up, or that cannot be followed. */
export type PolicyEnd = 'schedule-end' | 'not-ready';

export interface Policy {
  /** the index of an actor that is ready, or a negative number: the run ends, see `ended` */
  choose(machine: Machine, ready: Ready): number;
  /** why `choose` gave a negative number */
  readonly ended: { readonly why: PolicyEnd; readonly message: string } | undefined;
}

export const isReady = (ready: Ready, actor: number): boolean => {
  for (let i = 0; i < ready.count; i++) if (ready.actors[i] === actor) return true;
  return false;
};
