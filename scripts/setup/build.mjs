// Builds the application into out/ when a source is newer than what is there.

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { environment, Failure, inRoot, projectNode, run, say } from './project.mjs';

const stampPath = inRoot('out', '.build-stamp');
const products = ['out/main/index.js', 'out/preload/index.cjs', 'out/renderer/index.html'];
const sources = [
  'main',
  'db',
  'preload',
  'renderer',
  'package-lock.json',
  'electron.vite.config.ts',
];

export async function build() {
  const digest = digestOf(sources);
  const isCurrent = existsSync(stampPath) && readFileSync(stampPath, 'utf8') === digest;
  if (isCurrent && products.every((path) => existsSync(inRoot(path)))) return;

  say('Building the application …');
  rmSync(stampPath, { force: true });
  const builder = inRoot('node_modules', 'electron-vite', 'bin', 'electron-vite.js');
  const env = environment({ ownPrograms: true });
  const { status, output } = await run(projectNode(), [builder, 'build'], { capture: true, env });
  if (status !== 0) {
    throw new Failure(
      `${output.trim()}\nThe build failed with status ${status}: its messages are above.`,
    );
  }
  mkdirSync(inRoot('out'), { recursive: true });
  writeFileSync(stampPath, digest);
}

/** Names, sizes and times tell whether anything was edited without reading it. */
function digestOf(paths) {
  const hash = createHash('sha256');
  const add = (path) => {
    const full = inRoot(path);
    if (!existsSync(full)) return;
    const { size, mtimeMs } = statSync(full);
    hash.update(`${path}\0${size}\0${mtimeMs}\n`);
  };
  for (const path of paths) {
    const full = inRoot(path);
    if (!existsSync(full) || !statSync(full).isDirectory()) add(path);
    else for (const name of readdirSync(full, { recursive: true }).sort()) add(join(path, name));
  }
  return hash.digest('hex');
}
