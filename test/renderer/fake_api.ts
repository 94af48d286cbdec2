// The other side of the contract without a main process: runs scenarios and answers from memory.

import { libraryEntry } from '../../main/library_entry.ts';
import { LOG_STRIDE } from '../../main/sim/arena/arena.ts';
import { leafAt, textOf, valueAt, wordsOf } from '../../main/sim/arena/leaves.ts';
import { viewOf } from '../../main/sim/arena/views.ts';
import { WindowEncoder } from '../../main/sim/arena/window_encoder.ts';
import { actorWordsOf, levelAt, siteAt } from '../../main/sim/arena/window_sites.ts';
import { boot } from '../../main/sim/boot.ts';
import { CheckEngine } from '../../main/sim/checks/engine.ts';
import { checks } from '../../main/sim/checks/index.ts';
import { type CompiledScenario, compileScenario } from '../../main/sim/scenario/compile.ts';
import { directed } from '../../main/sim/sched/policies/directed.ts';
import { random } from '../../main/sim/sched/policies/random.ts';
import { replay } from '../../main/sim/sched/policies/replay.ts';
import { roundRobin } from '../../main/sim/sched/policies/round_robin.ts';
import { Run } from '../../main/sim/sched/run.ts';
import { parseSchedule } from '../../main/sim/sched/schedule.ts';
import type { MachineView } from '../../main/sim/state/machine.ts';
import {
  functionOf,
  knownSites,
  type Machine,
  registeredFunctions,
  siteOf,
} from '../../main/sim/steps.ts';
import type {
  Answer,
  Api,
  BisectAnswer,
  BisectRequest,
  OpenRecording,
  Overview,
  Progress,
  RunRequest,
  StepRef,
  WindowBytes,
} from '../../preload/api.ts';

const windowSteps = 256;

/** A run that is kept whole. */
interface Kept {
  readonly open: OpenRecording;
  readonly machine: Machine;
  readonly boot: Uint32Array;
  readonly actors: Uint8Array;
  readonly sites: Uint32Array;
  readonly levels: Uint8Array;
}

const compile = (text: string, request?: RunRequest): CompiledScenario => {
  const overrides = {
    ...(request?.profile === undefined ? {} : { profile: request.profile }),
    ...(request?.switches === undefined ? {} : { switches: request.switches }),
  };
  const vocabulary = { checks, functions: registeredFunctions() };
  const { scenario, diagnostics } = compileScenario(text, overrides, vocabulary);
  if (scenario === undefined) throw new Error(diagnostics[0]?.message ?? 'It cannot be compiled.');
  return scenario;
};

const policyOf = (scenario: CompiledScenario, request: RunRequest) => {
  if (request.seed !== undefined) return random(request.seed);
  if (request.schedule !== undefined) {
    const parsed = parseSchedule(request.schedule, scenario.actors);
    if ('fault' in parsed) throw new Error(parsed.fault.message);
    return replay(parsed.schedule, scenario.actors);
  }
  if (scenario.schedule !== undefined) return replay(scenario.schedule, scenario.actors);
  if (scenario.directives.length > 0) return directed(scenario.directives, scenario.policy);
  return roundRobin();
};

const perform = (recording: number, request: RunRequest): Kept => {
  const scenario = compile(request.text, request);
  const machine = boot(scenario.config);
  const { arena, layout } = machine;
  arena.dropLog();
  const image = arena.words.slice();
  const where = actorWordsOf(layout);
  const engine = new CheckEngine(viewOf<MachineView>(arena, layout), layout, checks);
  const actors: number[] = [];
  const sites: number[] = [];
  const levels: number[] = [];
  const policy = policyOf(scenario, request);
  const run = new Run(machine, {
    policy: {
      get ended() {
        return policy.ended;
      },
      choose: (m, ready) => {
        const actor = policy.choose(m, ready);
        if (actor >= 0) {
          sites[actors.length] = siteAt(arena.words, where, actor);
          levels[actors.length] = levelAt(arena.words, where, actor);
        }
        return actor;
      },
    },
    watchers: [
      {
        stepClosed: (_m, actor) => {
          actors.push(actor);
          const log = {
            writes: arena.writes,
            start: arena.startOf(arena.stepsKept - 1),
            end: arena.used,
          };
          engine.stepClosed(log, arena.position - 1, actor);
        },
      },
    ],
    stepsMax: request.stepsMax ?? 100_000,
  });
  run.advance(1_000_000);

  const open: OpenRecording = {
    recording,
    path: `/recordings/${request.name}.apicrec`,
    name: request.name,
    title: scenario.title,
    scenario: request.text,
    profile: scenario.profile,
    switches: scenario.switches,
    schedule: run.scheduleText(),
    actors: scenario.actors,
    steps: arena.position,
    halt: run.halt ?? '',
    modelVersion: 'test',
    bytes: 0,
    recoveredTo: undefined,
    layout,
    findings: engine.findings,
    boot: image,
    sites: knownSites().flatMap((site) => {
      const info = site && functionOf(site.function);
      return site && info ? [{ ...site, world: info.world, source: info.source }] : [];
    }),
  };
  return {
    open,
    machine,
    boot: image,
    actors: Uint8Array.from(actors),
    sites: Uint32Array.from(sites),
    levels: Uint8Array.from(levels),
  };
};

const stateOf = (kept: Kept, position: number): Uint32Array => {
  const words = kept.boot.slice();
  const { arena } = kept.machine;
  const end = position === 0 ? 0 : arena.ends[position - 1]!;
  for (let i = 0; i < end; i += LOG_STRIDE) words[arena.writes[i]!] = arena.writes[i + 2]!;
  return words;
};

const windowAt = (kept: Kept, position: number): WindowBytes => {
  const { steps } = kept.open;
  const first = Math.floor(Math.min(position, Math.max(0, steps - 1)) / windowSteps) * windowSteps;
  const count = Math.min(windowSteps, steps - first);
  const { arena } = kept.machine;
  const bytes = new WindowEncoder(kept.boot).encode({
    first,
    count,
    keyframe: stateOf(kept, first),
    actors: kept.actors.subarray(first),
    writes: arena.writes,
    ends: arena.ends,
    firstEnd: first,
  });
  return { first, count, bytes: bytes.slice() };
};

const overview = (kept: Kept, from: number, to: number, buckets: number): Overview => {
  const counts = new Uint32Array(kept.open.actors.length * 3 * buckets);
  for (let step = from; step < Math.min(to, kept.open.steps); step++) {
    const bucket = Math.min(buckets - 1, Math.floor(((step - from) / (to - from)) * buckets));
    counts[(kept.actors[step]! * 3 + kept.levels[step]!) * buckets + bucket]!++;
  }
  return { from, to, buckets, counts };
};

const writers = (kept: Kept, path: string, before: number, limit: number): StepRef[] => {
  const leaf = leafAt(kept.open.layout, path);
  if (leaf === undefined) throw new Error(`There is no field ${path}.`);
  const words = new Set(Array.from({ length: wordsOf(leaf) }, (_, i) => leaf.word + i * leaf.step));
  const found: StepRef[] = [];
  const { arena } = kept.machine;
  for (let step = before - 1; step >= 0 && found.length < limit; step--) {
    const start = step === 0 ? 0 : arena.ends[step - 1]!;
    for (let i = start; i < arena.ends[step]!; i += LOG_STRIDE) {
      if (!words.has(arena.writes[i]!)) continue;
      const site = siteOf(kept.sites[step]!);
      found.push({
        step,
        actor: kept.open.actors[kept.actors[step]!]!,
        function: site?.function ?? '',
        label: site?.label ?? '',
        from: textOf(stateOf(kept, step), leaf),
        to: textOf(stateOf(kept, step + 1), leaf),
      });
      break;
    }
  }
  return found;
};

const bisect = (kept: Kept, request: BisectRequest): BisectAnswer => {
  if (request.invariant === undefined) {
    const match = /^(\S+)\s*==\s*(\d+)$/.exec(request.expression ?? '');
    const leaf = match && leafAt(kept.open.layout, match[1]!);
    if (!match || !leaf)
      throw new Error(`"${request.expression}" cannot be read: write PATH == NUMBER.`);
    for (let position = 0; position <= kept.open.steps; position++) {
      if (Number(valueAt(stateOf(kept, position), leaf)) !== Number(match[2])) continue;
      return {
        lastGood: Math.max(0, position - 1),
        firstBad: position,
        evaluations: position,
        seconds: 0,
        message: `${match[1]} is ${match[2]} from position ${position} on.`,
      };
    }
    throw new Error(`${request.expression} is never true in this recording.`);
  }
  const finding = kept.open.findings.find((one) => one.check === request.invariant);
  if (finding === undefined) throw new Error(`${request.invariant} holds at every position.`);
  return {
    lastGood: finding.position - 1,
    firstBad: finding.position,
    evaluations: 7,
    seconds: 0,
    message: finding.message,
  };
};

export interface FakeOptions {
  /** texts of the bundled scenarios by id */
  readonly texts: Readonly<Record<string, string>>;
  readonly startup?: string;
  readonly recent?: readonly string[];
}

/** An `Api` that answers everything at once. */
export const fakeApi = ({ texts, startup, recent = [] }: FakeOptions): Api => {
  const kept = new Map<number, Kept>();
  const listeners = new Set<(progress: Progress) => void>();
  const answer = async <T>(work: () => T): Promise<Answer<T>> => {
    try {
      return { ok: true, value: work() };
    } catch (thrown) {
      return { ok: false, error: thrown instanceof Error ? thrown.message : String(thrown) };
    }
  };
  const of = (recording: number): Kept => {
    const found = kept.get(recording);
    if (found === undefined) throw new Error('The recording is not open.');
    return found;
  };
  return {
    library: () =>
      answer(() =>
        Object.entries(texts).map(([id, text]) => libraryEntry({ name: id, text }, compile(text))),
      ),
    functions: () =>
      answer(() =>
        registeredFunctions().map(({ name, world, source }) => ({ name, world, source })),
      ),
    run: (job, request) =>
      answer(() => {
        for (const listener of listeners) {
          listener({
            job,
            what: `run ${request.name}`,
            part: 0.5,
            steps: 10,
            stepsPerSecond: 1000,
          });
        }
        const done = perform(kept.size + 1, request);
        kept.set(done.open.recording, done);
        return done.open;
      }),
    cancel: () => answer(() => true),
    open: () => answer(() => undefined),
    close: (recording) => answer(() => kept.delete(recording)),
    exportRecording: () => answer(() => undefined),
    openScenario: () => answer(() => undefined),
    saveScenario: (path) => answer(() => path),
    windowAt: (recording, position) => answer(() => windowAt(of(recording), position)),
    overview: (recording, from, to, buckets) =>
      answer(() => overview(of(recording), from, to, buckets)),
    writers: (recording, path, before, limit) =>
      answer(() => writers(of(recording), path, before, limit)),
    find: () => answer(() => []),
    bisect: (_job, request) => answer(() => bisect(of(request.recording), request)),
    startup: () => answer(() => ({ open: undefined, scenario: startup })),
    recentFiles: () => answer(() => [...recent]),
    onProgress: (callback) => {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
    onCommand: () => () => undefined,
  };
};
