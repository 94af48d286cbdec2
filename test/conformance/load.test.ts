// The loader: what it reads, and what it says of files that are wrong.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadSuites, merged } from '../../main/conformance/load.ts';
import { caseFolder, goodCase, writeSuite } from './files.ts';

const folder = caseFolder();

test('a folder gives its case files by name, and only those', () => {
  const many = join(folder, 'many');
  mkdirSync(many);
  writeSuite(many, 'b', { suite: 'second' });
  writeSuite(many, 'a', { suite: 'first' });
  writeFileSync(join(many, 'README.md'), 'not a case file');
  expect(loadSuites([many]).map(({ suite, file }) => [suite, file])).toEqual([
    ['first', 'a'],
    ['second', 'b'],
  ]);
});

test('defaults lie under what a case gives, record by record', () => {
  const path = writeSuite(folder, 'defaults', {
    defaults: { vm: { apicv: true, bsp_id: 0 }, list: [1, 2] },
    cases: [{ ...goodCase, given: { vm: { apicv: false }, list: [] } }],
  });
  const [one] = loadSuites([path])[0]!.cases;
  expect(one!.given).toEqual({ vm: { apicv: false, bsp_id: 0 }, list: [] });
  expect(merged({ a: 1 }, { b: 2 })).toEqual({ a: 1, b: 2 });
});

test('the steps of a sequence have their own expectations, and lose them as operations', () => {
  const sequence = [{ op: 'none' }, { op: 'set-tpr', value: 1, expect: { tpr: 1 } }];
  const path = writeSuite(folder, 'sequence', {
    kind: 'sequence',
    cases: [{ id: 's-1', given: {}, sequence, expect: {} }],
  });
  const [one] = loadSuites([path])[0]!.cases;
  expect(one!.steps).toEqual([
    { op: { op: 'none' }, expect: {} },
    { op: { op: 'set-tpr', value: 1 }, expect: { tpr: 1 } },
  ]);
});

const write = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

test.each<[string, () => string, RegExp]>([
  ['is missing', () => join(folder, 'nowhere.json'), /no file or folder/],
  ['is an empty folder', () => mkdirSync(join(folder, 'empty'), { recursive: true })!, /no \.json/],
  ['is not JSON', () => write('broken.json', '{ "schema": '), /is not JSON/],
  ['is another document', () => write('list.json', '[1, 2]'), /the document is wrong/],
  ['has another schema', () => writeSuite(folder, 'x1', { schema: 'x/2' }), /schema is wrong/],
  ['has no cases', () => writeSuite(folder, 'x2', { cases: 3 }), /cases is wrong/],
  ['has an op that is none', () => withCase('x3', { op: 'none' }), /cases\[0\]\.op is wrong/],
  ['has a case without op', () => withCase('x4', { op: undefined }), /c-1 .* must have "op"/],
  ['has both', () => withCase('x5', { sequence: [] }), /must have "op" and no "sequence"/],
  ['has an expect that is none', () => withCase('x6', { expect: 1 }), /expect is wrong/],
  ['lost cases', () => writeSuite(folder, 'x7', { case_count: 2 }), /case_count is 2, .* 1 cases/],
])('a file that %s is told in one sentence', (_, make, says) => {
  expect(() => loadSuites([make()])).toThrow(says);
});

const withCase = (name: string, over: object): string =>
  writeSuite(folder, name, { cases: [{ ...goodCase, ...over }] });
