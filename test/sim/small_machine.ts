// The smallest machine that shows a rule: booted, and moved by hand one step at a time.

import { boot } from '#sim/boot.ts';
import { actorState } from '#sim/state/actor.ts';
import type { ActorConfig, MachineConfig } from '#sim/state/machine_config.ts';
import type { ActorKind, Program } from '#sim/state/program.ts';
import { profileOf } from '#sim/state/switches.ts';
import { functionOf, type Machine, type Steps, scenarioActor, siteOf, Thread } from '#sim/steps.ts';

export interface SmallMachine {
  readonly vcpus?: number;
  readonly frames?: number;
  readonly memoryPages?: number;
  readonly slotPages?: number;
  readonly boot?: MachineConfig['boot'];
  readonly enableApicv?: boolean;
  readonly profile?: string;
  readonly switches?: Readonly<Record<string, string>>;
  /** programs by actor; actors without a program are there anyway: `mm` and `user` */
  readonly programs?: Readonly<Record<string, Program>>;
}

const kindOf = (name: string): ActorKind =>
  (['vcpu', 'irq', 'mm', 'user'] as const).find((kind) => name.startsWith(kind))!;

/** vCPUs first, as the model wants it; then their interrupt contexts, `mm`, `mm1` and `user`. */
const actorsOf = (vcpus: number, programs: Readonly<Record<string, Program>>): ActorConfig[] => {
  const numbers = Array.from({ length: vcpus }, (_, i) => i);
  const names = [
    ...numbers.map((i) => `vcpu${i}`),
    ...numbers.map((i) => `irq${i}`),
    'mm',
    'mm1',
    'user',
  ];
  return names.map((name) => ({
    name,
    kind: kindOf(name),
    index: Number(/\d+$/.exec(name)?.[0] ?? 0),
    program: programs[name] ?? [],
  }));
};

export const configOf = (small: SmallMachine = {}): MachineConfig => {
  const { vcpus = 1, memoryPages = 0 } = small;
  return {
    vcpus,
    memoryPages,
    ...(small.slotPages === undefined ? {} : { slotPages: small.slotPages }),
    frames: small.frames ?? vcpus + memoryPages + 6,
    boot: small.boot ?? 'settled',
    enableApicv: small.enableApicv ?? true,
    switches: { ...profileOf(small.profile ?? 'k6.6')!.switches, ...small.switches },
    actors: actorsOf(vcpus, small.programs ?? {}),
  };
};

export const smallMachine = (small: SmallMachine = {}): Machine => boot(configOf(small));

/** The result of a function that an actor was given, once it has returned. */
export interface Work<R> {
  result: R | undefined;
  done: boolean;
}

const testWork = scenarioActor(function* testWork(
  _: Machine,
  start: () => Steps<unknown>,
  work: Work<unknown>,
) {
  work.result = yield* start();
  work.done = true;
});

const actorNamed = (m: Machine, name: string): number => {
  const thread = m.threads.find((t) => t.name === name);
  if (thread === undefined) throw new Error(`the machine has no actor ${name}`);
  return thread.index;
};

/** Gives an actor a function to run instead of its program; it stands before its first step. */
export const begin = <R>(m: Machine, actor: string, start: () => Steps<R>): Work<R> => {
  const index = actorNamed(m, actor);
  const work: Work<R> = { result: undefined, done: false };
  m.threads[index] = new Thread(index, actor, testWork(m, start, work));
  m.actor[index]!.state = actorState.READY;
  m.actor[index]!.depth = 1;
  m.actor[index]!.stack[0]!.site = functionOf('testWork')!.entry;
  m.resume(index);
  m.arena.closeStep();
  return work;
};

export const isReady = (m: Machine, actor: string): boolean => m.ready(actorNamed(m, actor));

/** `function "label"` of the step that the actor stands before. */
export const standsBefore = (m: Machine, actor: string): string => {
  const site = siteOf(m.siteBefore(actorNamed(m, actor)));
  return `${site?.function} "${site?.label}"`;
};

const stepsBound = 2000;

/** Lets an actor take one step, which it must be able to. */
export const takeStep = (m: Machine, actor: string): void => {
  const index = actorNamed(m, actor);
  if (!m.ready(index)) throw new Error(`${actor} waits before ${standsBefore(m, actor)}`);
  m.resume(index);
  m.arena.closeStep();
};

/** Lets an actor go on until it has ended or waits; gives the labels of the steps that it took. */
export const goOn = (m: Machine, actor: string): string[] => {
  const index = actorNamed(m, actor);
  const labels: string[] = [];
  while (m.ready(index)) {
    if (labels.length === stepsBound) throw new Error(`${actor} goes on for ever`);
    labels.push(siteOf(m.siteBefore(index))?.label ?? '');
    m.resume(index);
    m.arena.closeStep();
  }
  return labels;
};

/** Lets an actor go on until it stands before the step; a text of the label is enough. */
export const goTo = (m: Machine, actor: string, name: string, label = ''): void => {
  const index = actorNamed(m, actor);
  for (let steps = 0; steps < stepsBound; steps++) {
    const site = siteOf(m.siteBefore(index));
    if (steps > 0 && site?.function === name && site.label.includes(label)) return;
    takeStep(m, actor);
  }
  throw new Error(`${actor} does not get to ${name} "${label}"`);
};

/** Runs a function to its end on the actor, which must not have to wait. */
export const complete = <R>(m: Machine, actor: string, start: () => Steps<R>): R => {
  const work = begin(m, actor, start);
  goOn(m, actor);
  if (!work.done) throw new Error(`${actor} waits before ${standsBefore(m, actor)}`);
  return work.result as R;
};

/** Lets everybody go on in turn until nobody can. */
export const settle = (m: Machine): void => {
  for (let round = 0; round < stepsBound; round++) {
    const ready = m.threads.filter((t) => m.ready(t.index));
    if (ready.length === 0) return;
    for (const thread of ready) if (m.ready(thread.index)) takeStep(m, thread.name);
  }
  throw new Error('the machine does not come to rest');
};

/** Changes state by hand, as a step of its own. */
export const byHand = (m: Machine, change: () => void): void => {
  change();
  m.arena.closeStep();
};
