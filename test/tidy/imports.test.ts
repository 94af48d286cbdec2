// The table of who may import whom, as a test.

import { expect, test } from 'vitest';
import { mayImportFile, mayImportPackage, ruleFor } from './import_rules.ts';
import { importsOf, sourceFiles } from './source_files.ts';

test('every file imports only what its layer may use', () => {
  const broken = sourceFiles().flatMap((file) => {
    const rule = ruleFor(file);
    if (rule === undefined) return [];
    return importsOf(file)
      .filter((one) =>
        one.kind === 'file' ? !mayImportFile(rule, one.path) : !mayImportPackage(rule, one.name),
      )
      .map((one) => `${file} may not import ${one.kind === 'file' ? one.path : one.name}`);
  });
  expect(broken).toEqual([]);
});

test('hardware may not import KVM, and the model may not import Node', () => {
  const hardware = ruleFor('main/sim/hw/posted_interrupts.ts');
  expect(hardware && mayImportFile(hardware, 'main/sim/kvm/lapic.ts')).toBe(false);
  expect(hardware && mayImportFile(hardware, 'main/sim/state/pi_desc.ts')).toBe(true);
  expect(hardware && mayImportPackage(hardware, 'node')).toBe(false);
});
