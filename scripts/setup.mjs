// Makes a fresh clone ready to run: packages, Electron, system libraries. A second run changes nothing.

import { dependenciesAreCurrent, installDependencies } from './setup/dependencies.mjs';
import { electronIsInstalled, installElectron } from './setup/electron.mjs';
import { installLibraries, missingLibraries } from './setup/libraries.mjs';
import { withLock } from './setup/lock.mjs';
import { entry, Failure, isProgram } from './setup/project.mjs';

/** Everything a window needs. */
export async function setUp() {
  checkNode();
  if (isReady()) return;
  await withLock(async () => {
    // Looked at again: another set-up may have done it while this one waited.
    if (!dependenciesAreCurrent()) await installDependencies();
    if (!electronIsInstalled()) await installElectron();
    const missing = missingLibraries();
    if (missing.length > 0) await installLibraries(missing);
  });
}

/** What the command line needs: packages and the project's own Node. */
export async function setUpPackages() {
  checkNode();
  if (dependenciesAreCurrent()) return;
  await withLock(async () => {
    if (!dependenciesAreCurrent()) await installDependencies();
  });
}

const isReady = () =>
  dependenciesAreCurrent() && electronIsInstalled() && missingLibraries().length === 0;

function checkNode() {
  const [major] = process.versions.node.split('.');
  if (Number(major) < 20) {
    throw new Failure(
      `Node 20 or newer is needed, this is ${process.versions.node}: install a newer Node.`,
    );
  }
}

if (isProgram(import.meta.url)) await entry(setUp);
