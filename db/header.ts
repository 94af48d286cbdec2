/** What a recording says of itself, and the checks of what a file claims. */
import type { Dimensions, RecordType } from '#sim/arena/fields.ts';
import type { Finding } from '#sim/checks/check.ts';

export type { Finding };

/** Known when a run begins. */
export interface RecordingHeader {
  /** name of the scenario: its id in the library, or the file */
  readonly name: string;
  readonly title: string;
  /** the text of the scenario */
  readonly scenario: string;
  readonly profile: string;
  readonly switches: Readonly<Record<string, string>>;
  /** names of the actors, by index */
  readonly actors: readonly string[];
  readonly dimensions: Dimensions;
  readonly layout: RecordType;
  readonly modelVersion: string;
}

/** Known when a run has ended. */
export interface RecordingEnd {
  /** why the run ended: a `Halt` of `main/sim/sched/run.ts` */
  readonly halt: string;
  /** the same in a sentence */
  readonly message: string;
  /** the choices made, in the text form of schedules; empty if too long: `choices()` has them */
  readonly schedule: string;
  readonly counters: Readonly<Record<string, number | string>>;
}

/** A step of a function, as a recording stores it. */
export interface SiteEntry {
  readonly id: number;
  readonly function: string;
  readonly label: string;
  /** kvm, linux, sdm or scenario, and the path or section that the function is from */
  readonly world: string;
  readonly source: string;
}

/** Actors are bytes in a window. */
export const actorsMax = 256;
