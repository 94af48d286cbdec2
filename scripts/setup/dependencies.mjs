// Installs what package-lock.json names, if it is not what node_modules holds.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { environment, Failure, inRoot, run, say } from './project.mjs';

const lockPath = inRoot('package-lock.json');
const installedPath = inRoot('node_modules', '.package-lock.json');
const stampPath = inRoot('node_modules', '.apicscope-stamp');

/** npm follows its reason with a page on how it is used. */
const messageLinesMax = 12;

export function dependenciesAreCurrent() {
  const lock = readFileSync(lockPath);
  const digest = createHash('sha512').update(lock).digest('hex');
  if (!existsSync(inRoot('node_modules', 'node', 'bin'))) return false;
  if (existsSync(stampPath) && readFileSync(stampPath, 'utf8') === digest) return true;
  // An `npm install` by hand leaves no stamp, but the same packages: they are not installed again.
  if (!holdsAll(JSON.parse(lock.toString()))) return false;
  writeFileSync(stampPath, digest);
  return true;
}

export async function installDependencies() {
  say('Installing the packages that package-lock.json names …');
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  // The project's own Node is among what is replaced, so npm runs under the system's.
  const options = { env: environment({ ownPrograms: false }), shell: process.platform === 'win32' };
  const { status, output } = await run(npm, args, { ...options, capture: true });
  if (status !== 0) {
    say(output.split('\n').slice(0, messageLinesMax).join('\n').trim());
    throw new Failure(
      `npm ci failed with status ${status} (its messages are above): see that the npm registry can be reached and run this again.`,
    );
  }
  if (!dependenciesAreCurrent()) {
    throw new Failure(
      'npm ci ended well, but node_modules is not what package-lock.json says: run npm ci by hand.',
    );
  }
}

/** npm writes the list of what it installed last of all, so an interrupted install does not pass. */
function holdsAll(lock) {
  if (!existsSync(installedPath)) return false;
  const installed = JSON.parse(readFileSync(installedPath, 'utf8')).packages;
  return Object.entries(lock.packages).every(
    ([path, { version, optional }]) =>
      path === '' || (installed[path] ? installed[path].version === version : optional === true),
  );
}
