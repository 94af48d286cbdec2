/** Who acts in a scenario: the vCPUs and their CPUs always, the others when they have a program. */
import { limits } from '../../state/limits.ts';
import type { ActorConfig } from '../../state/machine_config.ts';
import type { ActorKind, Program } from '../../state/program.ts';
import { storesWaitWith } from '../../state/store_buffer.ts';
import { instead, nearest } from '../diagnostics.ts';
import { sectionWords } from '../parse/tokens.ts';
import type { ProgramItem, Section, Word } from '../parse/tree.ts';
import type { Report } from './context.ts';
import type { MachineSize } from './machine.ts';
import { programOf } from './program.ts';

/** `mm` to `mm15`, `user` to `user15` */
const othersOfKind = 16;

/** Kinds that act only if a block tells them to; the first of each has no number. */
export const actorsWithBlocks = ['mm', 'user', 'sched', 'dev', 'iommu', 'clock'] as const;
/** Kinds that there is one of for each vCPU. */
const perVcpu: ReadonlySet<string> = new Set<ActorKind>(['vcpu', 'irq', 'timer']);

/** Kinds that there is one of. */
const single = ['kworker'] as const satisfies readonly ActorKind[];

const namePattern = new RegExp(
  `^(?:(${[...perVcpu, ...actorsWithBlocks].join('|')})(0|[1-9][0-9]?)?|(${single.join('|')}))$`,
);

/** Threads whose stores wait where a barrier is off: they run KVM for a vCPU, or send to one. */
const storing: readonly ActorKind[] = ['vcpu', 'timer', 'kworker', 'user', 'dev'];

const drainPrefix = 'drain-';

/** Is that the name of the store buffer of an actor, which only a machine without a barrier has? */
export const isStoreBufferOf = (name: string, actors: readonly string[]): boolean =>
  name.startsWith(drainPrefix) && actors.includes(name.slice(drainPrefix.length));

/** Kind and number behind a name that an actor can have. */
export const actorOf = (name: string): { kind: ActorKind; index: number } | undefined => {
  const match = namePattern.exec(name);
  if (match === null) return undefined;
  if (match[3] !== undefined) return { kind: match[3] as ActorKind, index: 0 };
  const kind = match[1] as ActorKind;
  const isPhysical = perVcpu.has(kind);
  if (isPhysical !== (match[2] !== undefined) && (isPhysical || match[2] === '0')) return undefined;
  const index = Number(match[2] ?? 0);
  return !isPhysical && index >= othersOfKind ? undefined : { kind, index };
};

/** Actors of the machine that nobody tells what to do. */
const silentKinds: Readonly<Partial<Record<ActorKind, string>>> = {
  irq: 'takes interrupts',
  timer: 'fires when "clock { advance … }" has brought its time',
  kworker: 'does work that was put off when "clock { advance … }" has brought its time',
};

type ProgramSection = Extract<Section, { kind: 'program' }>;

const wrongActor = (actor: Word, { vcpus }: MachineSize, report: Report): void => {
  const found = actorOf(actor.text);
  const silent = found === undefined ? undefined : silentKinds[found.kind];
  if (silent !== undefined) {
    report(actor, `${actor.text} ${silent} and has no program; remove the block`);
  } else if (found?.kind === 'vcpu') {
    const last = `vcpu${vcpus - 1}`;
    const more =
      found.index < limits.vcpus
        ? `write "vcpus ${found.index + 1}" in the machine block`
        : `write ${last}`;
    report(actor, `there is no ${actor.text}: the last vCPU of the machine is ${last}; ${more}`);
  } else {
    const names = [...Array.from({ length: vcpus }, (_, i) => `vcpu${i}`), ...actorsWithBlocks];
    const meant = nearest(actor.text, [...names, ...sectionWords]);
    const hint = meant === undefined ? instead(actor.text, names) : `did you mean "${meant}"?`;
    report(actor, `there is no actor "${actor.text}"; ${hint}`);
  }
};

const hasProgram = (actor: Word, { vcpus }: MachineSize): boolean => {
  const found = actorOf(actor.text);
  if (found === undefined || silentKinds[found.kind] !== undefined) return false;
  return found.kind !== 'vcpu' || found.index < vcpus;
};

const slotMovers: readonly string[] = ['set-memory-region', 'move-memslot'];

/** Does the word put guest memory where the machine block does not say that it is? */
const movesSlots = (item: ProgramItem): boolean =>
  item.kind === 'word' ? slotMovers.includes(item.word.text) : item.body.some(movesSlots);

/** `vcpu0.l2`: what the guest of vCPU 0 runs in a guest of its own. */
const l2Pattern = /^(vcpu[0-9]+)\.l2$/;

/** The program of each actor that has one; a block of an actor that cannot be is checked too. */
const programsOf = (
  sections: readonly ProgramSection[],
  machine: MachineSize,
  report: Report,
): Map<string, ActorConfig> => {
  const programs = new Map<string, ActorConfig>();
  const slotsMove = sections.some(({ body }) => body.some(movesSlots));
  const l2Programs = new Map<string, Program>();
  for (const { actor: written, body } of sections) {
    const l1 = l2Pattern.exec(written.text)?.[1];
    const actor = l1 === undefined ? written : { ...written, text: l1 };
    const { text: name } = actor;
    const found = actorOf(name);
    const isFit = hasProgram(actor, machine);
    if (!isFit) wrongActor(actor, machine, report);
    if (found === undefined || silentKinds[found.kind] !== undefined) continue;
    const { vcpus, memoryPages } = machine;
    const context = { vcpus, memoryPages, slotsMove, level: l1 === undefined ? 1 : 2, report };
    const program = programOf(body, { kind: found.kind, ...context });
    if (!isFit) continue;
    const known = (l1 === undefined ? programs : l2Programs).has(name);
    if (known) report(written, `${written.text} has a program already; join the two blocks`);
    else if (l1 === undefined) programs.set(name, { name, ...found, program });
    else l2Programs.set(name, program);
  }
  for (const [name, l2] of l2Programs) {
    const config = programs.get(name);
    if (config !== undefined) programs.set(name, { ...config, l2 });
    else {
      const section = sections.find(({ actor }) => actor.text === `${name}.l2`)!;
      report(section.actor, `${name} never enters L2; write a block ${name} with a vmlaunch`);
    }
  }
  return programs;
};

/** The actors, and where a barrier is off their store buffers. */
const withStoreBuffers = (
  actors: readonly ActorConfig[],
  machine: MachineSize,
  switches: Readonly<Record<string, string>>,
): readonly ActorConfig[] => {
  if (!storesWaitWith(switches, machine.vm?.nested === true)) return actors;
  const drains = actors.flatMap(({ name, kind }, index): ActorConfig[] =>
    storing.includes(kind)
      ? [{ name: `${drainPrefix}${name}`, kind: 'drain', index, program: [] }]
      : [],
  );
  return [...actors, ...drains];
};

/** All actors, in the order that gives them their numbers. */
export const actorsOf = (
  sections: readonly ProgramSection[],
  machine: MachineSize,
  { switches, report }: { switches: Readonly<Record<string, string>>; report: Report },
): readonly ActorConfig[] => {
  const programs = programsOf(sections, machine, report);
  const numbers = Array.from({ length: machine.vcpus }, (_, i) => i);
  const silent = (kind: 'vcpu' | 'irq' | 'timer', index: number): ActorConfig => ({
    name: `${kind}${index}`,
    kind,
    index,
    program: [],
  });
  const others = [...programs.values()].filter(({ kind }) => kind !== 'vcpu');
  // While time stands still no timer can fire, and no work is due that was put off.
  const timed = others.some(({ kind }) => kind === 'clock');
  const worker = timed && machine.vm?.irqchip !== 'split';
  const actors = [
    ...numbers.map((index) => programs.get(`vcpu${index}`) ?? silent('vcpu', index)),
    ...numbers.map((index) => silent('irq', index)),
    ...(timed ? numbers.map((index) => silent('timer', index)) : []),
    ...(worker ? single.map((kind) => ({ name: kind, kind, index: 0, program: [] })) : []),
    ...others,
  ];
  return withStoreBuffers(actors, machine, switches);
};

/** Every name that an actor of such a machine could have. */
export const possibleActors = ({ vcpus }: MachineSize): string[] => [
  ...[...perVcpu].flatMap((kind) => Array.from({ length: vcpus }, (_, i) => `${kind}${i}`)),
  ...single,
  ...actorsWithBlocks.flatMap((kind) =>
    Array.from({ length: othersOfKind }, (_, i) => (i === 0 ? kind : `${kind}${i}`)),
  ),
];
