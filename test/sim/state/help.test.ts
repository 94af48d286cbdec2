// Help says who writes a field, and the runs of the scenarios bear it out.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { RecordType } from '#sim/arena/fields.ts';
import { leavesOf } from '#sim/arena/leaves.ts';
import { helpAt, helpLines, helpOfField, recordHelp } from '#sim/state/help/index.ts';
import { layoutOf } from '#sim/state/machine.ts';
import { functionOf } from '#sim/steps.ts';
import { libraryIds, testScenarioIds } from '../scenario_run.ts';
import { type Chain, observedIn } from './observed_writers.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const layout = layoutOf({ vcpus: 2, actors: 6, frames: 8, memoryPages: 1 });

const recordsIn = (type: RecordType, known = new Map<string, RecordType>()) => {
  if (!known.has(type.name)) {
    known.set(type.name, type);
    for (const { of } of type.fields) if (of !== undefined) recordsIn(of, known);
  }
  return known;
};
const records = [...recordsIn(layout).values()];

/** Every declared field that holds a value, once. */
const fields = records.flatMap((record) =>
  record.fields
    .filter(({ of }) => of === undefined)
    .map((field) => ({ record: record.name, field: field.name, doc: field.doc })),
);
const named = ({ record, field }: { record: string; field: string }): string =>
  `${record}.${field}`;

const sources = readdirSync(join(root, 'main/sim'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.startsWith('state/'))
  .map((name) => readFileSync(join(root, 'main/sim', name), 'utf8'));

/** Texts of the files that declare a function of the name. */
const filesOf = (name: string): string[] => {
  const declaration = new RegExp(`(const|function\\*?) ${name}\\b`);
  return sources.filter((text) => declaration.test(text));
};

/** The functions of the model that a text names: they stand in backticks. */
const functionsIn = (text: string | undefined): string[] =>
  [...(text ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name!);

test('every field says what it means, who writes it and where it is described', () => {
  const without = recordHelp.filter(({ record }) => !records.some(({ name }) => name === record));
  expect(without.map(({ record }) => record)).toEqual([]);
  const missing = fields.filter(({ record, field, doc }) => {
    const { by, source } = helpOfField(record, field);
    return doc.length < 5 || by === undefined || source === undefined;
  });
  expect(missing.map(named)).toEqual([]);
  const untold = records.filter(({ name }) => recordHelp.every(({ record }) => record !== name));
  expect(untold.map(({ name }) => name)).toEqual([]);
});

const kernelFile = /\b(arch\/x86|virt\/kvm|include|kernel|mm)\/[a-z0-9_/]+\.[ch]\b/;
const section = /\b(SDM|VT-d) \d+(\.\d+)*\b/;

test('a source is a file of the kernel, a section of a manual, or the model itself', () => {
  const told = fields.map((one) => ({
    ...one,
    source: helpOfField(one.record, one.field).source ?? '',
  }));
  const vague = told.filter(
    ({ source }) =>
      !kernelFile.test(source) && !section.test(source) && !source.includes('the model'),
  );
  expect(vague.map((one) => `${named(one)}: ${one.source}`)).toEqual([]);
  const files = told.flatMap(({ source }) => source.match(/main\/sim\/[a-z0-9_/]+\.ts/g) ?? []);
  expect([...new Set(files)].filter((file) => !existsSync(join(root, file)))).toEqual([]);
});

test('a function in backticks is one of the model', () => {
  const unknown = fields.flatMap((one) =>
    functionsIn(helpOfField(one.record, one.field).by)
      .filter((name) => functionOf(name) === undefined && filesOf(name).length === 0)
      .map((name) => `${named(one)}: ${name}`),
  );
  expect(unknown).toEqual([]);
});

const observed = observedIn([...libraryIds, ...testScenarioIds]);
const chainsOf = (name: string): Chain[] => [...(observed.get(name)?.values() ?? [])];

test('each write of a run goes through a function that the help of the field names', () => {
  const untold = fields.flatMap((one) => {
    const writers = functionsIn(helpOfField(one.record, one.field).by);
    return chainsOf(named(one))
      .filter((chain) => !chain.some((name) => writers.includes(name)))
      .map((chain) => `${named(one)}: ${chain.slice(0, 4).join(' < ')}`);
  });
  expect(untold, 'main/sim/state/help: name a function of each of these').toEqual([]);
});

test('a function that help names writes the record in a run, or its file has the field', () => {
  const wrong = fields.flatMap((one) => {
    const alike = [...observed].filter(([name]) => name.startsWith(`${one.record}.`));
    const seen = new Set(alike.flatMap(([, chains]) => [...chains.values()].flat()));
    const mention = new RegExp(`\\b${one.field}\\b`);
    return functionsIn(helpOfField(one.record, one.field).by)
      .filter((name) => !seen.has(name))
      .filter((name) => !filesOf(name).some((text) => mention.test(text)))
      .map((name) => `${named(one)}: ${name}`);
  });
  expect(wrong).toEqual([]);
});

test('help is found by path, also of elements and of records', () => {
  expect(helpAt('vcpu[1].pi_desc.pir[0x31]')).toEqual(helpOfField('pi_desc', 'pir'));
  expect(helpAt('vcpu[0].apic')).toEqual({
    rule: undefined,
    by: undefined,
    source: 'struct kvm_lapic, arch/x86/kvm/lapic.h',
  });
  expect(helpAt('vcpu[0].apic.gone')).toBeUndefined();
  expect(helpLines('vcpu[0].gone')).toEqual([]);
});

test('every register of the APIC page tells its reset value or its rule', () => {
  const page = leavesOf(layout).filter(
    ({ path, word }) =>
      path.startsWith('vcpu[0].apic.') &&
      word < leavesOf(layout).find((leaf) => leaf.path === 'vcpu[0].apic.base_address')!.word,
  );
  expect(page.length).toBeGreaterThan(25);
  expect(page.filter(({ path }) => helpAt(path)?.rule === undefined)).toEqual([]);
});
