/** Which step broke it? The earliest position of a range at which something is bad. */
import { Arena } from '#sim/arena/arena.ts';
import type { RecordType } from '#sim/arena/fields.ts';
import { leavesMatching } from '#sim/arena/leaves.ts';
import { viewOf } from '#sim/arena/views.ts';
import { entryAt, move } from '#sim/arena/window.ts';
import type { Check, Finding } from '#sim/checks/check.ts';
import { CheckEngine } from '#sim/checks/engine.ts';
import { layoutOf, type MachineView } from '#sim/state/machine.ts';
import { demand } from '../failure.ts';
import type { Reader } from '../reader.ts';
import { type Cost, type Predicate, turnsOf } from './find.ts';
import { wordsOfLeaf } from './writers.ts';

export interface Broken {
  /** −1 if it is bad at position 0 */
  readonly lastGood: number;
  /** step `firstBad − 1` broke it */
  readonly firstBad: number;
  readonly message: string;
}

export interface BisectResult {
  /** undefined if it is good in the whole range */
  readonly broken: Broken | undefined;
  readonly evaluations: number;
  /** what the answer rests on, if not on an evaluation of the recorded states */
  readonly note?: string;
}

export interface BisectRange {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

const checkedRange = (reader: Reader, range: BisectRange): { from: number; to: number } => {
  const from = range.from ?? 0;
  const to = range.to ?? reader.steps;
  reader.demandPosition(from);
  reader.demandPosition(to);
  demand(from <= to, `${reader.path}: position ${to} is before ${from}; exchange them`);
  return { from, to };
};

/**
 * The first position after `from`, up to `to`, at which the predicate begins to be bad. If it is
 * bad at `from` already, that spell is passed over: another step broke it. Only at position 0,
 * which no step led to, does being bad count at once.
 */
export const bisectPredicate = (
  reader: Reader,
  isBad: Predicate,
  range: BisectRange = {},
): BisectResult => {
  const { from, to } = checkedRange(reader, range);
  const cost: Cost = { evaluations: 0 };
  let good = from === 0;
  for (const turn of turnsOf(reader, isBad, { from, to, cost })) {
    if (turn.holds && good) {
      const broken = { lastGood: turn.position - 1, firstBad: turn.position, message: '' };
      return { broken, evaluations: cost.evaluations };
    }
    good = !turn.holds;
  }
  return { broken: undefined, evaluations: cost.evaluations };
};

/** As `bisectPredicate`, for an invariant: the recorded writes run through it again. */
export const bisectCheck = (
  reader: Reader,
  check: Check,
  range: BisectRange = {},
): BisectResult => {
  const { from, to } = checkedRange(reader, range);
  if (!hasCurrentLayout(reader)) return fromStoredFindings(reader, check.id, { from, to });
  const arena = new Arena(reader.boot.length);
  const { layout } = reader.header;
  const engine = new CheckEngine(viewOf<MachineView>(arena, layout), layout, [check]);
  const isHit = (f: Finding): boolean => f.position > from && f.position <= to;
  for (const id of reader.windowsWriting(wordsReadBy(reader, check))) {
    if (reader.spanOf(id).first >= to) break;
    replay(reader, id, { arena, engine, to });
    const hit = engine.findings.find(isHit);
    if (hit !== undefined) return answer(hit, engine);
  }
  if (check.when === 'quiet' && to === reader.steps && nobodyCouldMove(reader)) {
    arena.words.set(reader.stateAt(to));
    engine.quiet(Math.max(0, to - 1), reader.window(to).actors.at(-1) ?? 0);
  }
  return answer(
    engine.findings.find((f) => isHit(f) || f.position === 0),
    engine,
  );
};

/** A layout without its help texts: a sentence that reads better moves no field. */
const placesOf = (layout: RecordType): string =>
  JSON.stringify(layout, (key, value: unknown) =>
    key === 'doc' && typeof value === 'string' ? undefined : value,
  );

/** Do the declarations of this version give the places that the recording has? */
export const hasCurrentLayout = (reader: Reader): boolean => {
  const { dimensions, layout } = reader.header;
  const { vcpus, actors, frames, memoryPages } = dimensions;
  if (vcpus === undefined || actors === undefined) return false;
  if (frames === undefined || memoryPages === undefined) return false;
  const current = layoutOf({ vcpus, actors, frames, memoryPages });
  return placesOf(current) === placesOf(layout);
};

/** How a run ends after which the checks of kind `quiet` are asked. */
const nobodyCouldMove = (reader: Reader): boolean =>
  reader.end?.halt === 'quiet' || reader.end?.halt === 'deadlock';

const wordsReadBy = (reader: Reader, check: Check): Set<number> => {
  const globs = [...check.reads, 'vcpu[*].non_root'];
  return new Set(
    globs.flatMap((glob) => leavesMatching(reader.header.layout, glob).flatMap(wordsOfLeaf)),
  );
};

interface Replay {
  readonly arena: Arena;
  readonly engine: CheckEngine;
  readonly to: number;
}

/** Takes the steps of a window again; stops after the first that the check finds at fault. */
const replay = (reader: Reader, id: number, { arena, engine, to }: Replay): void => {
  const window = reader.windowById(id);
  arena.words.set(window.keyframe);
  const end = Math.min(to, window.first + window.count);
  for (let step = window.first; step < end; step++) {
    move(window, step, step + 1, arena.words);
    const log = {
      writes: window.writes,
      start: entryAt(window, step),
      end: entryAt(window, step + 1),
    };
    engine.stepClosed(log, step, window.actors[step - window.first]!);
  }
};

const answer = (hit: Finding | undefined, engine: CheckEngine): BisectResult => ({
  broken:
    hit === undefined
      ? undefined
      : { lastGood: hit.position - 1, firstBad: hit.position, message: hit.message },
  evaluations: engine.evaluations,
});

const fromStoredFindings = (
  reader: Reader,
  check: string,
  range: { from: number; to: number },
): BisectResult => {
  const hit = reader.findings.find(
    (f) => f.check === check && f.position > range.from && f.position <= range.to,
  );
  return {
    broken:
      hit === undefined
        ? undefined
        : { lastGood: hit.position - 1, firstBad: hit.position, message: hit.message },
    evaluations: 0,
    note: 'the recording is of another version of the model: this is what its checks found then',
  };
};
