/**
 * `npm run bench`: what the model, the checks and the recorder cost. Figures depend on the machine;
 * ratios are measured in one run, the sides in turn. The ceilings are there against catastrophe.
 */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Database from 'better-sqlite3';
import { windowSteps } from '#sim/arena/window.ts';
import { boot } from '#sim/boot.ts';
import type { CompiledScenario } from '#sim/scenario/compile.ts';
import { random } from '#sim/sched/policies/random.ts';
import { Run } from '#sim/sched/run.ts';
import { CheckedRun } from '../../main/checked_run.ts';
import { compiled } from '../../main/compiled.ts';
import { startRun } from '../../main/session.ts';
import { measureRecorder } from './recorder.ts';

interface Load {
  /** what is measured, as the report has it */
  readonly name: string;
  readonly vcpus: number;
  readonly text: string;
}

/** Busy guests, and a page that never rests. */
const underMigrations = (vcpus: number): Load => {
  const programs = Array.from(
    { length: vcpus },
    (_, i) => `vcpu${i} { repeat 1000000 { write 0xfee00080 0x10  read 0xfee00080  read 0x1000 } }`,
  );
  const text = `scenario "bench"
machine { vcpus ${vcpus} memory 2 }
${programs.join('\n')}
mm { repeat 1000000 { migrate apic-access-page  migrate 1 } }
schedule { then random 1 }
`;
  return { name: `${vcpus} vCPU(s) under migrations`, vcpus, text };
};

/** A bundled scenario, with loops that do not end before the measurement does. */
const bundled = (id: string, vcpus: number, what: string): Load => {
  const path = new URL(`../../main/library/${id}.scn`, import.meta.url);
  const text = readFileSync(fileURLToPath(path), 'utf8').replace(/repeat \d+/g, 'repeat 1000000');
  return { name: `${vcpus} vCPU(s) ${what}`, vcpus, text };
};

const busyPosted = (): Load => bundled('busy-posted', 4, 'with posted interrupts');
const busyNested = (): Load => bundled('busy-nested', 2, 'in nested round trips');

const secondsOf = (work: () => void): number => {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
};

/** The best of a few rounds of each, taken in turn: what else the computer does hits both alike. */
const bestInTurn = (rounds: number, ...works: readonly (() => number)[]): number[] => {
  const best = works.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < rounds; round++) {
    for (const [i, work] of works.entries()) best[i] = Math.min(best[i]!, work());
  }
  return best;
};

const unchecked = (scenario: CompiledScenario, steps: number): number => {
  const machine = boot(scenario.config);
  const run = new Run(machine, { policy: random(1), stepsMax: steps });
  return secondsOf(() => {
    while (run.advance(windowSteps) === windowSteps) machine.arena.dropLog();
  });
};

const checked = (scenario: CompiledScenario, steps: number): number => {
  const run = new CheckedRun(boot(scenario.config), { policy: random(1), stepsMax: steps });
  return secondsOf(() => run.advance(Number.POSITIVE_INFINITY));
};

const recorded = (text: string, path: string, steps: number): number => {
  const source = { name: 'bench', path: 'bench.scn', text };
  const session = startRun(source, { seed: 1, stepsMax: steps }, path);
  return secondsOf(() => {
    session.advance(Number.POSITIVE_INFINITY);
    session.finish();
  });
};

/** As many bytes in as many rows, under the recorder's settings, and nothing else. */
const rawSqlite = (path: string, bytes: number, rows: number): number => {
  rmSync(path, { force: true });
  const blob = new Uint8Array(Math.ceil(bytes / rows));
  return secondsOf(() => {
    const db = new Database(path);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)');
    const put = db.prepare('INSERT INTO t VALUES (?, ?)');
    for (let i = 0; i < rows; i++) put.run(i, blob);
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.close();
  });
};

interface ModelFigures {
  readonly name: string;
  readonly vcpus: number;
  readonly steps: number;
  readonly stepsPerSecond: number;
  readonly checkedStepsPerSecond: number;
  readonly recordedStepsPerSecond: number;
  /** time with all checks for time without */
  readonly checksFactor: number;
  /** time checked and recorded for time checked */
  readonly recordingFactor: number;
  readonly bytesPerStep: number;
  /** how many steps a second SQLite alone would store, were it only for their bytes */
  readonly rawSqliteStepsPerSecond: number;
}

const measureModel = ({ name, vcpus, text }: Load, steps: number, folder: string): ModelFigures => {
  const scenario = compiled({ name: 'bench', path: 'bench.scn', text });
  const path = join(folder, 'run.apicrec');
  unchecked(scenario, steps / 10);
  checked(scenario, steps / 10);
  const [bare = 0, withChecks = 0, withRecorder = 0] = bestInTurn(
    3,
    () => unchecked(scenario, steps),
    () => checked(scenario, steps),
    () => recorded(text, path, steps),
  );
  const bytes = statSync(path).size;
  const rows = Math.ceil(steps / windowSteps);
  const [raw = 0] = bestInTurn(3, () => rawSqlite(join(folder, 'raw.db'), bytes, rows));
  return {
    name,
    vcpus,
    steps,
    stepsPerSecond: Math.round(steps / bare),
    checkedStepsPerSecond: Math.round(steps / withChecks),
    recordedStepsPerSecond: Math.round(steps / withRecorder),
    checksFactor: withChecks / bare,
    recordingFactor: withRecorder / withChecks,
    bytesPerStep: bytes / steps,
    rawSqliteStepsPerSecond: Math.round(steps / raw),
  };
};

/** Ten times and more worse than what a small computer does: something is broken. */
const ceilings = {
  stepsPerSecondLeast: 50_000,
  checksFactorMost: 10,
  recordingFactorMost: 10,
  bytesPerStepMost: 60,
  seekP99Most: 250,
} as const;

const complaintsOf = (
  model: readonly ModelFigures[],
  recorder: ReturnType<typeof measureRecorder>,
): string[] => {
  const over: (readonly [string, boolean])[] = model.flatMap((one) => [
    [`${one.name}: too slow`, one.stepsPerSecond < ceilings.stepsPerSecondLeast] as const,
    [`${one.name}: checks`, one.checksFactor > ceilings.checksFactorMost] as const,
    [`${one.name}: recording`, one.recordingFactor > ceilings.recordingFactorMost] as const,
    [`${one.name}: bytes`, one.bytesPerStep > ceilings.bytesPerStepMost] as const,
  ]);
  over.push(['seeking', recorder.seekP99 > ceilings.seekP99Most]);
  return over.filter(([, isOver]) => isOver).map(([what]) => `${what}: beyond the ceiling`);
};

const rowsOf = (one: ModelFigures): (readonly [string, string])[] => {
  const factor = (value: number): string => `(× ${value.toFixed(2)} time)`;
  return [
    ['model alone', `${one.stepsPerSecond} steps/s`],
    ['under all checks', `${one.checkedStepsPerSecond} steps/s ${factor(one.checksFactor)}`],
    ['and recorded', `${one.recordedStepsPerSecond} steps/s ${factor(one.recordingFactor)}`],
    ['recording', `${one.bytesPerStep.toFixed(1)} bytes/step`],
    ['SQLite, bytes alone', `${one.rawSqliteStepsPerSecond} steps/s`],
  ];
};

const block = (title: string, rows: readonly (readonly [string, string])[]): string =>
  `${title}\n${rows.map(([name, value]) => `  ${name.padEnd(22)}${value}\n`).join('')}`;

const told = (
  model: readonly ModelFigures[],
  recorder: ReturnType<typeof measureRecorder>,
): string => {
  const blocks = model.map((one) => block(`${one.name}, ${one.steps} steps`, rowsOf(one)));
  const { microsecondsPerStep, bytesPerStep, seekP50, seekP99 } = recorder;
  blocks.push(
    block(`recorder alone, ${recorder.steps} steps`, [
      ['cost', `${microsecondsPerStep.toFixed(2)} µs/step, ${bytesPerStep.toFixed(1)} bytes/step`],
      ['seek', `p50 ${seekP50.toFixed(2)} ms, p99 ${seekP99.toFixed(2)} ms`],
    ]),
  );
  return blocks.join('');
};

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, steps: { type: 'string' } },
});
const steps = Number(values.steps ?? 400_000);
if (!Number.isSafeInteger(steps) || steps < 1000) {
  process.stderr.write('--steps wants a whole number from 1000\n');
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'apicscope-bench-'));
try {
  const loads = [underMigrations(1), underMigrations(4), busyPosted(), busyNested()];
  const model = loads.map((load) => measureModel(load, steps, folder));
  const recorder = measureRecorder();
  const complaints = complaintsOf(model, recorder);
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ model, recorder, complaints }, undefined, 2)}\n`);
  } else {
    const lines = complaints.map((line) => `! ${line}\n`);
    process.stdout.write(told(model, recorder) + lines.join(''));
  }
  process.exitCode = complaints.length === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true });
}
