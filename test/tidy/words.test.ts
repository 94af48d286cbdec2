// Words that do not belong into sources, and what the model may not use or hold.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { expect, test, vi } from 'vitest';
import { root, sourceFiles } from './source_files.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');
const inFolder = (file: string, ...folders: readonly string[]): boolean =>
  folders.some((folder) => file.startsWith(`${folder}/`));

/** This file names the words that it bans. */
const here = 'test/tidy/words.test.ts';
const sources = sourceFiles().filter((file) => file !== here);

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  readonly among: (file: string) => boolean;
  /** files that have it, each with the reason */
  readonly but?: Readonly<Record<string, string>>;
}

const everywhere = (): boolean => true;
const inModel = (file: string): boolean => inFolder(file, 'main/sim');

const bans: readonly Ban[] = [
  { what: 'notes to oneself', pattern: /\b(TODO|FIXME|XXX|HACK)\b/, among: everywhere },
  {
    what: 'printing',
    pattern: /\bconsole\.\w+\(/,
    among: (file) => inFolder(file, 'main', 'db', 'preload', 'renderer'),
  },
  {
    what: 'the type any',
    pattern: /(:|<|\bas|\|)\s*any\b(?!\w)/,
    among: (file) => !file.endsWith('.vue'),
  },
  { what: 'silenced types', pattern: /@ts-(ignore|nocheck|expect-error)/, among: everywhere },
  { what: 'a clock', pattern: /\bDate\b|\bperformance\.|\bsetTimeout\b/, among: inModel },
  { what: 'chance', pattern: /Math\.random|\bcrypto\b/, among: inModel },
  {
    what: 'a default export',
    pattern: /^export default\b/m,
    among: (f) => !inFolder(f, 'renderer'),
  },
  {
    what: 'tests that are left out or alone',
    pattern: /\b(test|it|describe)\.(only|skip|todo)\b/,
    among: (file) => inFolder(file, 'test'),
  },
];

/** Comments say what they like; what is banned is code. Words for oneself are banned in both. */
const codeOf = (file: string): string =>
  textOf(file).replaceAll(/\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, '');

test.each(bans)('no source has $what', ({ what, pattern, among, but = {} }) => {
  const read = what === 'notes to oneself' || what === 'silenced types' ? textOf : codeOf;
  const found = sources.filter((file) => among(file) && pattern.test(read(file)));
  expect(found.filter((file) => !(file in but))).toEqual([]);
  expect(Object.keys(but).filter((file) => !found.includes(file))).toEqual([]);
});

/** Names at module level that could hold state: `let`, and collections that are made empty. */
const holders = (file: string): string[] => {
  const source = ts.createSourceFile(file, textOf(file), ts.ScriptTarget.Latest, true);
  return source.statements.filter(ts.isVariableStatement).flatMap(({ declarationList }) => {
    const isConst = (declarationList.flags & ts.NodeFlags.Const) !== 0;
    return declarationList.declarations
      .filter(({ initializer, type }) => {
        if (!isConst) return true;
        if (initializer === undefined || !ts.isNewExpression(initializer)) return false;
        const declared = type?.getText() ?? '';
        return !/^Readonly(Set|Map)</.test(declared);
      })
      .map(({ name }) => `${file}: ${name.getText()}`);
  });
};

/** What holds no state of the machine, with the reason. */
const harmless: Readonly<Record<string, string>> = {
  'main/sim/arena/views.ts: classes': 'accessors by arena: made again whenever they are missing',
  'main/sim/arena/views.ts: prototypes':
    'accessors by the places of words: made again whenever they are missing',
  'main/sim/checks/engine.ts: indexes': 'who reads which word, by layout: made again when missing',
  'main/sim/sched/livelock.ts: ignoredWords':
    'the words that only count, by layout: made again when missing',
  'main/sim/state/machine.ts: layouts':
    'layouts by dimensions: made again whenever they are missing',
  'main/sim/state/requests.ts: flagged': 'a constant table',
  'main/sim/steps.ts: functions': 'the registry: filled while modules are loaded',
  'main/sim/steps.ts: sites': 'names of sites by their hash: independent of what ran',
};

test('no module of the model holds state: the machine is the arena and nothing else', () => {
  const found = sources
    .filter((file) => inModel(file) && !inFolder(file, 'main/sim/scenario'))
    .flatMap(holders);
  expect(found.sort()).toEqual(Object.keys(harmless).sort());
});

test('hardware, host and KVM have no classes', () => {
  const found = sources.filter(
    (file) =>
      inFolder(file, 'main/sim/hw', 'main/sim/host', 'main/sim/kvm') &&
      /^(export )?class\b/m.test(codeOf(file)),
  );
  expect(found).toEqual([]);
});
