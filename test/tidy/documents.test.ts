// What documents and comments say about the project is so.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { expect, test, vi } from 'vitest';
import '#sim/boot.ts';
import { registeredFunctions } from '#sim/steps.ts';
import { documents as generated } from '../../scripts/docs/documents.ts';
import { root, sourceFiles } from './source_files.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');

const documents = readdirSync(root).filter((name) => name.endsWith('.md'));
const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };

test.each(documents)('the commands that %s names are scripts of the project', (document) => {
  const named = [...textOf(document).matchAll(/npm (?:run (?:-s )?)?([a-z][a-z0-9:-]*)/g)];
  const ofNpm = ['install', 'ci', 'run', 'pack', 'link'];
  const missing = named
    .map(([, name]) => name!)
    .filter((name) => !(name in scripts) && !ofNpm.includes(name));
  expect([...new Set(missing)]).toEqual([]);
});

test.each(documents)('the files that %s names exist', (document) => {
  const paths = [
    ...textOf(document).matchAll(/`((?:main|db|test|renderer|preload|scripts)\/[^`*\s]*)`/g),
  ];
  const missing = paths
    .map(([, path]) => path!.replace(/:.*$/, ''))
    .filter((path) => !path.includes('…') && !existsSync(join(root, path)));
  expect([...new Set(missing)]).toEqual([]);
});

test('documents that are made from declarations are up to date; npm run docs makes them', () => {
  for (const { file, text } of generated()) expect(readFileSync(file, 'utf8')).toBe(text);
});

/** Scripts start programs that are there. */
test('the scripts of the project start files that exist', () => {
  const files = Object.values(scripts).flatMap((script) => script.match(/\S+\.(mjs|ts)\b/g) ?? []);
  expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
});

const model = sourceFiles().filter((file) => /^main\/sim\/(hw|host|kvm)\//.test(file));

/** The comment in front of each statement of a file. */
const documentedIn = (file: string): { text: string; comment: string }[] => {
  const source = ts.createSourceFile(file, textOf(file), ts.ScriptTarget.Latest, true);
  return source.statements.map((node) => {
    const ranges = ts.getLeadingCommentRanges(source.text, node.getFullStart()) ?? [];
    const last = ranges.at(-1);
    return {
      text: node.getText(),
      comment: last === undefined ? '' : source.text.slice(last.pos, last.end),
    };
  });
};

test('what is left out is said in words, at the function that leaves it out', () => {
  const wrong = model.flatMap((file) => {
    const said = (textOf(file).match(/@omits/g) ?? []).length;
    const atFunctions = documentedIn(file).filter(
      ({ text, comment }) =>
        /@omits \S+ \S+/.test(comment) && /^(export )?(const|function)/.test(text),
    );
    return said === atFunctions.length
      ? []
      : [`${file}: ${said} said, ${atFunctions.length} at functions`];
  });
  expect(wrong).toEqual([]);
});

/** A registered function that is exported says what it promises. */
test('each exported function of the model has a comment', () => {
  const bare = model.flatMap((file) =>
    documentedIn(file)
      .filter(({ text, comment }) => /^export const \w+ = (kvm|linux|sdm)\(/.test(text) && !comment)
      .map(({ text }) => `${file}: ${/^export const (\w+)/.exec(text)?.[1]}`),
  );
  expect(bare).toEqual([]);
});

test('a file opens with a sentence on what it is for', () => {
  const bare = sourceFiles().filter(
    (file) => /(?<!\.test)\.ts$/.test(file) && !/^(#!.*\n)?(\/\*\*|\/\/)/.test(textOf(file)),
  );
  expect(bare).toEqual([]);
});

test('each scenario that a reason names is there', () => {
  const named = [...textOf('test/sim/coverage.test.ts').matchAll(/test\/scenarios\/([a-z0-9-]+)/g)];
  const missing = named
    .map(([, id]) => id!)
    .filter((id) => !existsSync(join(root, 'test/scenarios', `${id}.scn`)));
  expect(missing).toEqual([]);
});

test('every function is registered under the name that it has', () => {
  expect(registeredFunctions().filter(({ name }) => !/^\w+$/.test(name))).toEqual([]);
});
