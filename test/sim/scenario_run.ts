// A scenario run to its end under all checks, as the tests of the model ask for it.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { boot } from '#sim/boot.ts';
import type { CompiledScenario } from '#sim/scenario/compile.ts';
import type { Policy } from '#sim/sched/policy.ts';
import type { Watcher } from '#sim/sched/run.ts';
import { type Machine, siteOf } from '#sim/steps.ts';
import { CheckedRun, type NamedFinding } from '../../main/checked_run.ts';
import { compiled, type Protections } from '../../main/compiled.ts';
import { choosePolicy, type ScheduleSettings } from '../../main/policy_choice.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Names without ending, sorted. */
const namesIn = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.scn'))
    .map((name) => name.slice(0, -'.scn'.length))
    .sort();

export const libraryIds: readonly string[] = namesIn('main/library');
/** Scenarios that are tests only: `test/scenarios`. */
export const testScenarioIds: readonly string[] = namesIn('test/scenarios');

/** The text of a bundled scenario, or of one of `test/scenarios`. */
export const scenarioText = (id: string): string => {
  const folder = libraryIds.includes(id) ? 'main/library' : 'test/scenarios';
  return readFileSync(join(root, folder, `${id}.scn`), 'utf8');
};

/** Steps that a run of a test may take; none needs half of them. */
export const stepsMaxOfTests = 20_000;

/** Who did what in a step. */
export interface StepOfTest {
  readonly actor: string;
  readonly function: string;
  readonly label: string;
}

export interface RunOfTest {
  readonly scenario: CompiledScenario;
  readonly machine: Machine;
  readonly run: CheckedRun;
  readonly findings: readonly NamedFinding[];
  /** step `p` leads from position `p` to `p + 1` */
  steps(): StepOfTest[];
  /** lines of the scenario's schedule, from 1, that did not get where they wanted */
  unreached(): readonly number[];
}

export interface TestRunOptions extends Protections, ScheduleSettings {
  readonly watchers?: readonly Watcher[];
  readonly stepsMax?: number;
}

/** Compiles a text, or throws the sentence that says what is wrong with it. */
export const compileText = (text: string, protections: Protections = {}): CompiledScenario =>
  compiled({ name: 'test', path: 'test.scn', text }, protections);

export const compileLibrary = (id: string, protections: Protections = {}): CompiledScenario =>
  compileText(scenarioText(id), protections);

/** A watcher that does nothing: with it the arena's log is kept from the boot image to the end. */
const keepsLog: Watcher = { stepClosed: () => undefined };

/** Notes actor and site of each choice: actor, site, actor, site … */
const noting = (policy: Policy, choices: number[]): Policy => ({
  get ended() {
    return policy.ended;
  },
  choose: (machine, ready) => {
    const actor = policy.choose(machine, ready);
    if (actor >= 0) choices.push(actor, machine.siteBefore(actor));
    return actor;
  },
});

/** Runs a compiled scenario to its end; the log of the arena is kept. */
export const runScenario = (
  scenario: CompiledScenario,
  options: TestRunOptions = {},
): RunOfTest => {
  const machine = boot(scenario.config);
  const choices: number[] = [];
  const chosen = choosePolicy(scenario, options);
  const run = new CheckedRun(machine, {
    policy: noting(chosen.policy, choices),
    watchers: [keepsLog, ...(options.watchers ?? [])],
    stepsMax: options.stepsMax ?? stepsMaxOfTests,
  });
  run.advance(Number.POSITIVE_INFINITY);
  const steps = (): StepOfTest[] =>
    Array.from({ length: choices.length / 2 }, (_, i) => {
      const site = siteOf(choices[2 * i + 1]!);
      return {
        actor: scenario.actors[choices[2 * i]!]!,
        function: site?.function ?? '',
        label: site?.label ?? '',
      };
    });
  const unreached = (): readonly number[] => chosen.unreached();
  return { scenario, machine, run, findings: run.findings, steps, unreached };
};

/** The same from the text. */
export const runText = (text: string, options: TestRunOptions = {}): RunOfTest =>
  runScenario(compileText(text, options), options);

export const runLibrary = (id: string, options: TestRunOptions = {}): RunOfTest =>
  runText(scenarioText(id), options);

/** Moves the machine of a run that has ended to a position of it. */
export const goToPosition = ({ machine: { arena } }: RunOfTest, position: number): void => {
  while (arena.position > position) arena.undo();
  while (arena.position < position) arena.redo();
};

/** The log of the arena: two runs from the same boot image are the same if these are. */
export const logOf = ({
  machine: { arena },
}: RunOfTest): { readonly ends: Uint32Array; readonly writes: Uint32Array } => ({
  ends: arena.ends.slice(0, arena.stepsKept),
  writes: arena.writes.slice(0, arena.used),
});
