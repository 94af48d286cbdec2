/** Who acts in a scenario: the vCPUs and their CPUs always, the others when they have a program. */
import { limits } from '../../state/limits.ts';
import type { ActorConfig, ActorKind } from '../../state/program.ts';
import { instead, nearest } from '../diagnostics.ts';
import { sectionWords } from '../parse/tokens.ts';
import type { Section, Word } from '../parse/tree.ts';
import type { Report } from './context.ts';
import type { MachineSize } from './machine.ts';
import { programOf } from './program.ts';

/** `mm` to `mm15`, `user` to `user15` */
const othersOfKind = 16;

const namePattern = /^(vcpu|irq|mm|user|sched)(0|[1-9][0-9]?)?$/;

/** Kind and number behind a name that an actor can have. */
export const actorOf = (name: string): { kind: ActorKind; index: number } | undefined => {
  const match = namePattern.exec(name);
  if (match === null) return undefined;
  const kind = match[1] as ActorKind;
  const isPhysical = kind === 'vcpu' || kind === 'irq';
  if (isPhysical !== (match[2] !== undefined) && (isPhysical || match[2] === '0')) return undefined;
  const index = Number(match[2] ?? 0);
  return !isPhysical && index >= othersOfKind ? undefined : { kind, index };
};

type ProgramSection = Extract<Section, { kind: 'program' }>;

const wrongActor = (actor: Word, { vcpus }: MachineSize, report: Report): void => {
  const found = actorOf(actor.text);
  if (found?.kind === 'irq') {
    report(actor, `${actor.text} takes interrupts and has no program; remove the block`);
  } else if (found?.kind === 'vcpu') {
    const last = `vcpu${vcpus - 1}`;
    const more =
      found.index < limits.vcpus
        ? `write "vcpus ${found.index + 1}" in the machine block`
        : `write ${last}`;
    report(actor, `there is no ${actor.text}: the last vCPU of the machine is ${last}; ${more}`);
  } else {
    const names = [...Array.from({ length: vcpus }, (_, i) => `vcpu${i}`), 'mm', 'user', 'sched'];
    const meant = nearest(actor.text, [...names, ...sectionWords]);
    const hint = meant === undefined ? instead(actor.text, names) : `did you mean "${meant}"?`;
    report(actor, `there is no actor "${actor.text}"; ${hint}`);
  }
};

const hasProgram = (actor: Word, { vcpus }: MachineSize): boolean => {
  const found = actorOf(actor.text);
  return (
    found !== undefined && found.kind !== 'irq' && (found.kind !== 'vcpu' || found.index < vcpus)
  );
};

/** The program of each actor that has one; a block of an actor that cannot be is checked too. */
const programsOf = (
  sections: readonly ProgramSection[],
  machine: MachineSize,
  report: Report,
): Map<string, ActorConfig> => {
  const programs = new Map<string, ActorConfig>();
  for (const { actor, body } of sections) {
    const { text: name } = actor;
    const found = actorOf(name);
    const isFit = hasProgram(actor, machine);
    if (!isFit) wrongActor(actor, machine, report);
    if (found === undefined || found.kind === 'irq') continue;
    const { memoryPages } = machine;
    const program = programOf(body, { kind: found.kind, memoryPages, report });
    if (!isFit) continue;
    if (programs.has(name)) report(actor, `${name} has a program already; join the two blocks`);
    else programs.set(name, { name, ...found, program });
  }
  return programs;
};

/** All actors, in the order that gives them their numbers. */
export const actorsOf = (
  sections: readonly ProgramSection[],
  machine: MachineSize,
  report: Report,
): ActorConfig[] => {
  const programs = programsOf(sections, machine, report);
  const numbers = Array.from({ length: machine.vcpus }, (_, i) => i);
  const silent = (kind: 'vcpu' | 'irq', index: number): ActorConfig => ({
    name: `${kind}${index}`,
    kind,
    index,
    program: [],
  });
  return [
    ...numbers.map((index) => programs.get(`vcpu${index}`) ?? silent('vcpu', index)),
    ...numbers.map((index) => silent('irq', index)),
    ...[...programs.values()].filter(({ kind }) => kind !== 'vcpu'),
  ];
};

/** Every name that an actor of such a machine could have. */
export const possibleActors = ({ vcpus }: MachineSize): string[] => [
  ...['vcpu', 'irq'].flatMap((kind) => Array.from({ length: vcpus }, (_, i) => `${kind}${i}`)),
  ...['mm', 'user', 'sched'].flatMap((kind) =>
    Array.from({ length: othersOfKind }, (_, i) => (i === 0 ? kind : `${kind}${i}`)),
  ),
];
