// Files tell one story, functions fit a screen, lines have 100 columns. A ratchet: exceptions are
// listed with their size; one that grows fails, and one that is no longer needed has to leave.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { expect, test, vi } from 'vitest';
import { root, scriptsOf, sourceFiles } from './source_files.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const fileLinesMax = 500;
const functionLinesMax = 70;
const columnsMax = 100;

const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');

/** What is over the bound, by name, with its size. */
type Sizes = Readonly<Record<string, number>>;

const longFiles: Sizes = {};

/** `file: function` */
const longFunctions: Sizes = {};

/** Lines over the bound by file. */
const longLines: Sizes = {};

const overIn = (measured: Iterable<readonly [string, number]>, bound: number): Sizes =>
  Object.fromEntries([...measured].filter(([, size]) => size > bound).sort());

/** What is new or has grown, and what is listed although it is small enough by now. */
const complaints = (measured: Sizes, allowed: Sizes): string[] => [
  ...Object.entries(measured)
    .filter(([name, size]) => size > (allowed[name] ?? 0))
    .map(([name, size]) => `${name} has ${size}`),
  ...Object.keys(allowed)
    .filter((name) => measured[name] === undefined)
    .map((name) => `${name} may leave the list`),
];

test(`no file has more than ${fileLinesMax} lines`, () => {
  const measured = sourceFiles().map((file) => [file, textOf(file).split('\n').length] as const);
  expect(complaints(overIn(measured, fileLinesMax), longFiles)).toEqual([]);
});

const isFunction = (node: ts.Node): node is ts.FunctionLikeDeclaration =>
  ts.isFunctionDeclaration(node) ||
  ts.isFunctionExpression(node) ||
  ts.isArrowFunction(node) ||
  ts.isMethodDeclaration(node) ||
  ts.isConstructorDeclaration(node);

/** The name of a function, of what it is assigned to, or of the call that it is handed to. */
const nameOf = (node: ts.FunctionLikeDeclaration): string => {
  if (ts.isConstructorDeclaration(node)) return 'constructor';
  if (node.name !== undefined) return node.name.getText();
  const { parent } = node;
  const [first] = ts.isCallExpression(parent) ? parent.arguments : [];
  if (first !== undefined && ts.isStringLiteral(first)) return first.text;
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)) {
    return parent.name.getText();
  }
  return 'without a name';
};

const linesOf = (source: ts.SourceFile, node: ts.Node): number => {
  const lineAt = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
  return lineAt(node.end) - lineAt(node.getStart()) + 1;
};

/** Lines of each function, without those of the functions in it: a store is a function of many. */
const functionsOf = (file: string): [string, number][] => {
  const text = file.endsWith('.vue') ? scriptsOf(textOf(file)) : textOf(file);
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: [string, number][] = [];
  /** Gives the lines of the outermost functions below the node. */
  const visit = (node: ts.Node): number => {
    let inner = 0;
    ts.forEachChild(node, (child) => {
      inner += visit(child);
    });
    if (!isFunction(node) || node.body === undefined) return inner;
    const lines = linesOf(source, node);
    found.push([`${file}: ${nameOf(node)}`, lines - inner]);
    return lines;
  };
  visit(source);
  return found;
};

test(`no function has more than ${functionLinesMax} lines`, () => {
  const measured = sourceFiles().flatMap(functionsOf);
  expect(complaints(overIn(measured, functionLinesMax), longFunctions)).toEqual([]);
});

/** The formatter breaks code; what is left are comments, and strings, which cannot always be. */
const canBeBroken = (line: string): boolean =>
  /^\s*(\/\/|\/?\*)/.test(line) || !/['"`]|\/\S+\//.test(line);

test(`lines have at most ${columnsMax} columns`, () => {
  const measured = sourceFiles().map((file) => {
    const long = textOf(file)
      .split('\n')
      .filter((line) => line.length > columnsMax && canBeBroken(line));
    return [file, long.length] as const;
  });
  expect(complaints(overIn(measured, 0), longLines)).toEqual([]);
});
