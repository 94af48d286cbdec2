// The fields that a finding or an expression speaks of, and who wrote them last.

import { Arena } from '../../main/sim/arena/arena.ts';
import { leafAt } from '../../main/sim/arena/leaves.ts';
import { viewOf } from '../../main/sim/arena/views.ts';
import { checks } from '../../main/sim/checks/index.ts';
import type { MachineView } from '../../main/sim/state/machine.ts';
import type { StepRef } from '../../preload/api.ts';
import { helpOf } from '../state/tree.ts';
import { lineOf } from '../step/written.ts';
import type { Mark } from '../stores/position.ts';
import type { Shown } from '../stores/recordings.ts';
import { api, ask } from '../stores/requests.ts';

/** A field at the first bad position. */
export interface Concerned {
  readonly path: string;
  /** for the tool tip */
  readonly help: string;
  readonly value: string;
  /** undefined if it is as the machine booted */
  readonly writer: StepRef | undefined;
}

const fieldsMax = 8;
const pathPattern = /[A-Za-z_]\w*(?:\[\w+\])?(?:\.[A-Za-z_]\w*(?:\[\w+\])?)*/g;

/** The fields that an expression reads, in the order in which it names them. */
export const pathsIn = (of: Shown, expression: string): string[] => {
  const { layout } = of.recording;
  const named = expression.match(pathPattern) ?? [];
  return [...new Set(named)].filter((path) => leafAt(layout, path) !== undefined);
};

/** The fields of the check's finding there, or what it says of that state. */
export const pathsOf = (of: Shown, check: string, bad: Mark): readonly string[] => {
  const { findings, layout } = of.recording;
  const finding = findings.find((one) => one.check === check && one.position === bad.position);
  if (finding !== undefined) return finding.fields;
  const known = checks.find((one) => one.id === check);
  if (known === undefined) return [];
  const arena = new Arena(bad.words.length);
  arena.words.set(bad.words);
  const machine = viewOf<MachineView>(arena, layout);
  const numbers = known.per === 'machine' ? [-1] : machine.vcpu.map((_, vcpu) => vcpu);
  const broken = numbers.map((vcpu) => known.broken(machine, vcpu));
  return broken.find((one) => one !== undefined)?.fields ?? [];
};

export const concernedAt = (
  of: Shown,
  paths: readonly string[],
  bad: Mark,
): Promise<Concerned[]> => {
  const { layout, recording } = of.recording;
  const found = paths.slice(0, fieldsMax).map(async (path) => {
    const leaf = leafAt(layout, path);
    if (leaf === undefined) return [];
    const [writer] = await ask(api().writers(recording, path, bad.position, 1));
    return [{ path, help: helpOf(leaf), value: lineOf(bad.words, leaf), writer }];
  });
  return Promise.all(found).then((lists) => lists.flat());
};
