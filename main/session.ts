/**
 * A scenario that is being run: compiled, scheduled, checked, and recorded if wanted.
 * The command line runs it to its end, the worker in slices; neither knows how.
 */
import type { SiteEntry } from '#db/header.ts';
import { Recorder } from '#db/recorder.ts';
import { boot } from '#sim/boot.ts';
import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { functionOf, type Machine, siteOf } from '#sim/steps.ts';
import { modelVersion } from '#sim/version.ts';
import { CheckedRun, type NamedFinding } from './checked_run.ts';
import { compiled, type Protections, type ScenarioSource } from './compiled.ts';
import { countersOf } from './counters.ts';
import { InputError } from './input_error.ts';
import { type ChosenPolicy, choosePolicy, type ScheduleSettings } from './policy_choice.ts';

/** What a person may decide instead of the scenario. */
export interface RunSettings extends Protections, ScheduleSettings {
  readonly stepsMax?: number | undefined;
}

/** What a run came to. */
export interface Outcome {
  readonly steps: number;
  /** the choices as text, or the name of the policy that made them all */
  readonly schedule: string;
  readonly findings: readonly NamedFinding[];
  readonly halted: string;
  readonly message: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly stepsPerSecond: number;
  /** sentences on what a person may not expect */
  readonly notes: readonly string[];
}

export class Session {
  readonly scenario: CompiledScenario;
  readonly machine: Machine;
  readonly run: CheckedRun;

  readonly #chosen: ChosenPolicy;
  readonly #recorder: Recorder | undefined;

  constructor(source: ScenarioSource, settings: RunSettings, recordTo: string | undefined) {
    this.scenario = compiled(source, settings);
    this.#chosen = choosePolicy(this.scenario, settings);
    this.machine = boot(this.scenario.config);
    const findings: NamedFinding[] = [];
    this.#recorder =
      recordTo === undefined ? undefined : this.#recorderFor(recordTo, source, findings);
    this.run = new CheckedRun(this.machine, {
      policy: this.#chosen.policy,
      findings,
      ...(this.#recorder === undefined ? {} : { watchers: [this.#recorder] }),
      ...(settings.stepsMax === undefined ? {} : { stepsMax: settings.stepsMax }),
    });
  }

  /** Runs for about so long; says whether the run goes on. */
  advance(budgetMs: number): boolean {
    return this.run.advance(budgetMs);
  }

  /** Ends the run where it stands; what was recorded so far is whole. */
  cancel(): void {
    this.run.cancel();
  }

  /**
   * Once the run has ended: completes the recording and tells what came of it. A schedule that
   * could not be followed is an error, and leaves no recording.
   */
  finish(): Outcome {
    const { run, machine } = this;
    if (run.halt === 'not-ready') {
      this.abandon();
      throw new InputError(`The schedule cannot be followed: ${run.message}.`);
    }
    const counters = countersOf(machine.layout, machine.arena.words);
    const choices = run.choicesText();
    const halted = run.halt ?? 'cancelled';
    this.#recorder?.finish({ halt: halted, message: run.message, schedule: choices, counters });
    return {
      steps: run.steps,
      schedule: halted === 'cancelled' ? choices : (this.#chosen.name ?? choices),
      findings: run.findings,
      halted,
      message: run.message,
      counters,
      seconds: run.milliseconds / 1000,
      stepsPerSecond: run.stepsPerSecond(),
      notes: this.#notes(),
    };
  }

  /** Ends without a recording. */
  abandon(): void {
    this.#recorder?.abandon();
  }

  #notes(): string[] {
    const lines = this.#chosen.unreached();
    if (lines.length === 0) return [];
    return [
      `Of the schedule, line ${lines.join(', ')} did not get where it wanted: its actor ended, waited, or went too long.`,
    ];
  }

  #recorderFor(path: string, source: ScenarioSource, findings: NamedFinding[]): Recorder {
    const { scenario, machine } = this;
    const { config } = scenario;
    return new Recorder({
      path,
      arena: machine.arena,
      siteOf: siteEntryOf,
      findings,
      header: {
        name: source.name,
        title: scenario.title,
        scenario: source.text,
        profile: scenario.profile,
        switches: scenario.switches,
        actors: scenario.actors,
        dimensions: {
          vcpus: config.vcpus,
          actors: config.actors.length,
          frames: config.frames,
          memoryPages: config.memoryPages,
        },
        layout: machine.layout,
        modelVersion,
      },
    });
  }
}

/** Compiles, boots and, if a path is given, begins to record. Takes no step yet. */
export const startRun = (
  source: ScenarioSource,
  settings: RunSettings = {},
  recordTo?: string,
): Session => new Session(source, settings, recordTo);

const siteEntryOf = (id: number): SiteEntry | undefined => {
  const site = siteOf(id);
  const info = site && functionOf(site.function);
  return site && info && { ...site, world: info.world, source: info.source };
};
