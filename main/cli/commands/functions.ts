// `functions`: what is modelled, where it is written here, and where it is from.

import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import '#sim/boot.ts';
import { registeredFunctions } from '#sim/steps.ts';
import { status, table } from '../output.ts';
import type { Run } from '../program.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));

interface Written {
  readonly file: string;
  readonly line: number;
  readonly summary: string;
}

export const functions: Run<[]> = ({ output }) => {
  const written = writtenFunctions();
  const answer = registeredFunctions().map(({ name, world, source }) => ({
    id: name,
    summary: written.get(name)?.summary ?? '',
    world,
    source,
    file: written.get(name)?.file ?? '',
    line: written.get(name)?.line ?? 0,
  }));
  output.answer(answer, () =>
    table(
      answer.map(({ id, world, source, file, line }) => [id, world, source, `${file}:${line}`]),
      ['function', 'from', 'source', 'written in'],
    ),
  );
  return status.asAsked;
};

/** Functions of the model by name; the sources are the only place that knows their lines. */
function writtenFunctions(): ReadonlyMap<string, Written> {
  const found = new Map<string, Written>();
  const folder = join(root, 'main', 'sim');
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    const path = join(folder, name);
    const text = readFileSync(path, 'utf8');
    for (const match of text.matchAll(/function\s*\*\s*(\w+)/g)) {
      const before = text.slice(0, match.index);
      found.set(match[1]!, {
        file: relative(root, path),
        line: before.split('\n').length,
        summary: summaryAbove(before),
      });
    }
  }
  return found;
}

/** The first sentence of the comment that stands right above the declaration. */
function summaryAbove(before: string): string {
  const end = before.lastIndexOf('*/');
  const start = before.lastIndexOf('/**', end);
  // Between comment and function there is only `export const name = kvm('…',`.
  if (start < 0 || /;\s*\n|^}/m.test(before.slice(end + 2))) return '';
  const text = before
    .slice(start + 3, end)
    .split('\n')
    .map((line) => line.replace(/^\s*\*?\s?/, ''))
    .join(' ')
    .replace(/\s@\w[\s\S]*$/, '')
    .trim();
  return /^.*?\.(?=\s|$)/.exec(text)?.[0] ?? text;
}
