// Scenarios over several levels: each case is told by a bundled scenario, which is run as it is.
// Its steps are not performed here. The case passes if the scenario meets the expectations that
// are written in it, and if what it has shown agrees with what the case expects.

import { defaultProfile } from '#sim/state/switches.ts';
import { Library } from '../../bundled.ts';
import { compile } from '../../compiled.ts';
import { libraryFolder } from '../../library_folder.ts';
import { type Adapter, type JsonObject, type Plan, type Trial, UnknownName } from '../adapter.ts';
import { evidenceOf } from './evidence.ts';
import { expects, type Reading, readingOf, toldByScenario } from './expects.ts';
import { casesToldBy, machinesOf, scenarioOf } from './scenarios.ts';

const library = new Library(libraryFolder);

/** `cpu1`, `cpu1.l1` and `cpu1.l2` are vCPU 1. User space and devices act on that of the case. */
const vcpuOf = (op: JsonObject, given: JsonObject): number => {
  const number = /^cpu(\d+)/.exec(String(op['actor']))?.[1];
  return Number(number ?? given['vcpu_id'] ?? 0);
};

const look = (reading: Reading, op: JsonObject | undefined, vcpu: number): void => {
  reading.op = op;
  reading.vcpu = vcpu;
  reading.exit = undefined;
};

/** The case of a scenario that has been run. */
function told(name: string, { given, profile }: Plan): Trial {
  const reading = readingOf(evidenceOf(library.named(name), profile), casesToldBy(name));
  return {
    perform: (op) => {
      look(reading, op, vcpuOf(op, given));
      return {};
    },
    finish: () => look(reading, undefined, 0),
    observe: (key, expected) => {
      if (toldByScenario.has(key)) return expected;
      const read = Object.hasOwn(expects, key) ? expects[key] : undefined;
      if (read === undefined) throw new UnknownName('expect', key);
      return read(reading, expected);
    },
  };
}

/** What the ioctls of a machine block come to: `ok`, `EINVAL` … */
const answerTo = (machine: string): string => {
  const { scenario, diagnostics } = compile(`scenario "a VM"\nmachine { ${machine} }\n`);
  const [first] = diagnostics;
  if (first === undefined) return scenario === undefined ? 'no scenario' : 'ok';
  return /fails with (E[A-Z]+)/.exec(first.message)?.[1] ?? first.message;
};

/** The case of a VM that is created, or is not. */
function created(machines: readonly string[]): Trial {
  let steps = 0;
  return {
    perform: () => {
      const machine = machines[steps++];
      if (machine === undefined) throw new Error('the case has more steps than there are machines');
      return { return: answerTo(machine) };
    },
    observe: (key, expected, answer) => {
      if (key !== 'return') throw new UnknownName('expect', key);
      const got = answer['return'];
      return expected === 'error' && got !== 'ok' ? expected : got;
    },
  };
}

const entryOf = <T>(table: Readonly<Record<string, T>>, id: string): T | undefined =>
  Object.hasOwn(table, id) ? table[id] : undefined;

function start(plan: Plan): Trial {
  const name = entryOf(scenarioOf, plan.id);
  if (name !== undefined) return told(name, plan);
  const machines = entryOf(machinesOf, plan.id);
  if (machines !== undefined) return created(machines);
  throw new Error(`no bundled scenario tells the case ${plan.id}`);
}

export const mixed: Adapter = { model: 'mixed', profileFor: () => defaultProfile, start };
