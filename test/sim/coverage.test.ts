// Every function of the model is run by some scenario, and names a place in a kernel or a manual.

import { expect, test, vi } from 'vitest';
import { LOG_STRIDE } from '#sim/arena/arena.ts';
import { registeredFunctions } from '#sim/steps.ts';
import { libraryIds, type RunOfTest, runLibrary } from './scenario_run.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

/** Functions that no bundled scenario runs, and why. */
const notInLibrary: Readonly<Record<string, string>> = {
  vmx_inject_exception: 'unit tests and conformance cases ask it directly',
};

const entries = new Map(registeredFunctions().map(({ name, entry }) => [entry, name]));

/** Each call writes the entry of the function into its stack frame, also one without a step. */
const calledIn = ({ machine: { arena } }: RunOfTest): string[] => {
  const called = new Set<string>();
  for (let i = 0; i < arena.used; i += LOG_STRIDE) {
    const name = entries.get(arena.writes[i + 2]!);
    if (name !== undefined) called.add(name);
  }
  return [...called];
};

const functionsOf = (ids: readonly string[]): Set<string> =>
  new Set(ids.flatMap((id) => calledIn(runLibrary(id))));

const library = functionsOf(libraryIds);
/** Actors' outermost functions are not called: they are where an actor begins. */
const outermost = [
  'vcpu_run',
  'hostInterrupts',
  'hrtimer_interrupt',
  'process_one_work',
  'drainStoreBuffer',
  'scenarioProgram',
];

const uncovered = (called: ReadonlySet<string>): string[] =>
  registeredFunctions()
    .map(({ name }) => name)
    .filter((name) => !called.has(name) && !outermost.includes(name));

test('the library runs every function but those listed with a reason', () => {
  expect(uncovered(library)).toEqual(Object.keys(notInLibrary).sort());
});

const kernelFile = /^(arch\/x86|virt\/kvm|include\/linux|kernel|mm)\/[a-z0-9_/]+\.[ch]$/;
/** Chapter or section of the manual: 27, 29.3, 30.4.2. */
const section = /^\d{1,2}(\.\d{1,2}){0,3}$/;

test('each function names a file of the kernel, or a section of the manual', () => {
  const wrong = registeredFunctions().filter(({ world, source }) => {
    if (world === 'scenario') return false;
    return !(world === 'sdm' ? section : kernelFile).test(source);
  });
  expect(wrong.map(({ name, source }) => `${name}: ${source}`)).toEqual([]);
});

test('a function of KVM is in a file of KVM, one of the host is not', () => {
  const ofKvm = /^(arch\/x86\/kvm|virt\/kvm)\/|^include\/linux\/kvm_/;
  for (const { name, world, source } of registeredFunctions()) {
    if (world === 'kvm') expect([name, ofKvm.test(source)]).toEqual([name, true]);
    if (world === 'linux') expect([name, ofKvm.test(source)]).toEqual([name, false]);
  }
});
