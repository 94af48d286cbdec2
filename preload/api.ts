/**
 * The contract between the window and the main process: plain data, one interface.
 * Bytes cross here, meaning does not: both sides import the declarations of the state.
 */
import type { RecordType } from '../main/sim/arena/fields.ts';
import type { Finding } from '../main/sim/checks/check.ts';

/** A bundled scenario. */
export interface LibraryEntry {
  readonly id: string;
  readonly title: string;
  /** what there is to see, told as a story */
  readonly about: string;
  readonly profile: string;
  readonly race: string | undefined;
  readonly twin: 'buggy' | 'fixed' | undefined;
  /** the twin, or `benign`: a race in which nothing breaks */
  readonly role: 'buggy' | 'fixed' | 'benign' | 'none';
  /** switches that are not as the profile presets them */
  readonly set: Readonly<Record<string, string>>;
  /** `clean` or `violated: inv-…` */
  readonly expect: string;
  /** the invariants that are expected to break */
  readonly violated: readonly string[];
  readonly text: string;
}

export interface SiteEntry {
  readonly id: number;
  readonly function: string;
  readonly label: string;
  /** kvm, linux, sdm or scenario, and the path or section that the function is from */
  readonly world: string;
  readonly source: string;
}

/** A function that the model has, whether or not a recording ran it. */
export interface FunctionEntry {
  readonly name: string;
  readonly world: string;
  readonly source: string;
}

/** A recording that is open, under a number that later calls name. */
export interface OpenRecording {
  readonly recording: number;
  readonly path: string;
  /** name of the scenario: its id in the library, or the file */
  readonly name: string;
  readonly title: string;
  readonly scenario: string;
  readonly profile: string;
  readonly switches: Readonly<Record<string, string>>;
  readonly schedule: string;
  readonly actors: readonly string[];
  readonly steps: number;
  readonly halt: string;
  readonly modelVersion: string;
  readonly bytes: number;
  /** the last position that could be read, if the recorder did not finish */
  readonly recoveredTo: number | undefined;
  readonly layout: RecordType;
  /** the state at position 0: what decoding a window needs beside its bytes */
  readonly boot: Uint32Array;
  readonly sites: readonly SiteEntry[];
  readonly findings: readonly Finding[];
}

/** Encoded steps (`main/sim/arena/window.ts` decodes): steps first to first + count − 1. */
export interface WindowBytes {
  readonly first: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** Who ran how much in each of `buckets` equal parts of a range of steps. */
export interface Overview {
  readonly from: number;
  readonly to: number;
  readonly buckets: number;
  /** steps per actor, level and bucket: index (actor × 3 + level) × buckets + bucket */
  readonly counts: Uint32Array;
}

export interface RunRequest {
  /** what the recording is named after: a library id or a file name */
  readonly name: string;
  readonly text: string;
  readonly profile?: string;
  readonly switches?: Readonly<Record<string, string>>;
  readonly schedule?: string;
  readonly seed?: number;
  readonly stepsMax?: number;
}

export interface Progress {
  readonly job: number;
  readonly what: string;
  /** 0 to 1, or undefined while it is not known */
  readonly part: number | undefined;
  readonly steps: number;
  readonly stepsPerSecond: number;
}

export interface StepRef {
  readonly step: number;
  readonly actor: string;
  readonly function: string;
  readonly label: string;
  readonly from: string;
  readonly to: string;
}

export interface BisectRequest {
  readonly recording: number;
  readonly invariant?: string;
  readonly expression?: string;
  readonly from?: number;
  readonly to?: number;
}

export interface BisectAnswer {
  readonly lastGood: number;
  readonly firstBad: number;
  readonly evaluations: number;
  readonly seconds: number;
  readonly message: string;
}

/** What a call gives: the value, or one sentence that says what, where and what to do. */
export type Answer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: string };

/** Requests: each is a method of `window.apicscope` that gives a promise of an `Answer`. */
export interface Requests {
  library(): LibraryEntry[];
  functions(): FunctionEntry[];
  /**
   * Runs and records; the job is cancelled with `cancel(job)`, where `job` is chosen by the window.
   */
  run(job: number, request: RunRequest): OpenRecording;
  cancel(job: number): boolean;
  /** Opens a file, or asks for one with a dialogue; undefined if the user closed that. */
  open(path: string | undefined): OpenRecording | undefined;
  close(recording: number): boolean;
  /** Saves a copy of the recording under a name that a dialogue asks for; gives the path. */
  exportRecording(recording: number): string | undefined;
  /** Opens, or saves, a scenario of the user's own through a dialogue. */
  openScenario(): { path: string; text: string } | undefined;
  saveScenario(path: string | undefined, text: string): string | undefined;
  windowAt(recording: number, position: number): WindowBytes;
  overview(recording: number, from: number, to: number, buckets: number): Overview;
  writers(recording: number, path: string, before: number, limit: number): StepRef[];
  find(recording: number, expression: string, from: number, to: number, limit: number): number[];
  bisect(job: number, request: BisectRequest): BisectAnswer;
  /** What the command line asked the window to show at start, if anything. */
  startup(): { readonly open: string | undefined; readonly scenario: string | undefined };
  recentFiles(): string[];
}

export type Api = {
  readonly [K in keyof Requests]: (
    ...args: Parameters<Requests[K]>
  ) => Promise<Answer<ReturnType<Requests[K]>>>;
} & {
  /** Calls back with each progress report; gives a function that ends it. */
  onProgress(callback: (progress: Progress) => void): () => void;
  /** Commands of the application menu, by name of the command in the table of keys. */
  onCommand(callback: (command: string) => void): () => void;
};
