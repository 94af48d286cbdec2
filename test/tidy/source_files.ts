// The project's own source files and what they import.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = fileURLToPath(new URL('../..', import.meta.url));

const folders = ['main', 'db', 'preload', 'renderer', 'scripts', 'test'];
const aliases: readonly (readonly [string, string])[] = [
  ['#sim/', 'main/sim/'],
  ['#db/', 'db/'],
  ['#preload/', 'preload/'],
];

/** Paths from the root, with slashes. */
export function sourceFiles(): string[] {
  return folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
        .filter((name) => /\.(ts|vue)$/.test(name)),
    );
}

export type Import =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'package'; readonly name: string };

export function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const { importedFiles } = ts.preProcessFile(file.endsWith('.vue') ? scriptsOf(text) : text);
  return importedFiles.map(({ fileName }) => target(file, fileName));
}

/** Only the script blocks of a component; its template imports nothing. */
export const scriptsOf = (text: string): string =>
  [...text.matchAll(/<script\b[^>]*>([\s\S]*?)<\/script>/g)].map(([, body]) => body).join('\n');

function target(from: string, specifier: string): Import {
  const plain = specifier.replace(/\?.*$/, '');
  if (plain.startsWith('.')) {
    return { kind: 'file', path: posix.normalize(posix.join(posix.dirname(from), plain)) };
  }
  const alias = aliases.find(([prefix]) => plain.startsWith(prefix));
  if (alias) return { kind: 'file', path: alias[1] + plain.slice(alias[0].length) };
  if (plain.startsWith('node:')) return { kind: 'package', name: 'node' };
  const parts = plain.split('/');
  return { kind: 'package', name: parts.slice(0, plain.startsWith('@') ? 2 : 1).join('/') };
}
