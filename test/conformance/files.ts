// Tiny case files, made by hand: what the loader reads and the comparison looks at.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { type Adapter, adapter, type Bench } from '../../main/conformance/adapter.ts';
import { boot } from '../../main/sim/boot.ts';
import { defaultProfile, profileOf } from '../../main/sim/state/switches.ts';

/** A folder that is removed after the tests of the file. */
export function caseFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'apicscope-cases-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a suite; what `over` says replaces what a small good one has. */
export function writeSuite(folder: string, name: string, over: object = {}): string {
  const path = join(folder, `${name}.json`);
  writeFileSync(path, JSON.stringify({ ...goodSuite, ...over }));
  return path;
}

export const goodCase = {
  id: 'c-1',
  given: {},
  op: { op: 'set-tpr', value: 5 },
  expect: { tpr: 5 },
};

const goodSuite = {
  schema: 'apic-conformance/1',
  suite: 'toy.tpr',
  kind: 'table',
  model: 'toy',
  source: {},
  description: 'a toy',
  case_count: 1,
  cases: [goodCase],
};

/** A model that knows one register. */
export const toy: Adapter = adapter<Bench>({
  model: 'toy',
  prepare: () => ({
    m: boot({
      vcpus: 1,
      frames: 4,
      memoryPages: 0,
      boot: 'settled',
      enableApicv: false,
      switches: profileOf(defaultProfile)!.switches,
      actors: [{ name: 'vcpu0', kind: 'vcpu', index: 0, program: [] }],
    }),
  }),
  givens: {
    tpr: ({ m }, value) => {
      m.vcpu[0]!.apic.tpr = Number(value);
    },
  },
  ops: {
    none: () => undefined,
    'set-tpr': ({ m }, op) => {
      m.vcpu[0]!.apic.tpr = Number(op['value']);
      return { outcome: 'completes' };
    },
    break: () => {
      throw new Error('the toy is broken');
    },
  },
  expects: { tpr: ({ m }) => m.vcpu[0]!.apic.tpr },
});
