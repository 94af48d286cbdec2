// The system libraries that Electron loads, and a virtual display where there is no real one (Linux).

import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { electronProgram } from './electron.mjs';
import { Failure, run, say } from './project.mjs';

const debianLibraries = [
  'libgtk-3-0',
  'libnss3',
  'libatk-bridge2.0-0',
  'libcups2',
  'libgbm1',
  'libasound2',
  'libxss1',
];
const debianDisplay = ['xvfb'];

export const hasDisplay = () =>
  process.platform !== 'linux' || Boolean(process.env.DISPLAY || process.env.WAYLAND_DISPLAY);

/** What is missing, by its file names. */
export function missingLibraries() {
  if (process.platform !== 'linux') return [];
  const listed = execFileSync('ldd', [electronProgram()], { encoding: 'utf8' });
  const missing = [...listed.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1]);
  if (!hasDisplay() && !isInPath('Xvfb')) missing.push('Xvfb');
  return missing;
}

export async function installLibraries(missing) {
  const wanted = [
    ...(missing.some((name) => name !== 'Xvfb') ? debianLibraries : []),
    ...(missing.includes('Xvfb') ? debianDisplay : []),
  ];
  if (process.getuid?.() !== 0 || !isInPath('apt-get')) {
    throw new Failure(
      `Electron needs what this system lacks (${missing.join(', ')}): run \`sudo apt-get install -y ${wanted.join(' ')}\`, or install the like with this system's package manager, and run this again.`,
    );
  }
  say(`Installing system packages for ${missing.join(', ')} …`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-qq'], { env });
  const names = await Promise.all(wanted.map(nameHere));
  const args = [
    'install',
    '-y',
    '-qq',
    '--no-install-recommends',
    '-o',
    'DPkg::Lock::Timeout=300',
    ...names,
  ];
  const { status, output } = await run('apt-get', args, { env, capture: true });
  const still = missingLibraries();
  if (status !== 0 || still.length > 0) {
    throw new Failure(
      `${output.trim()}\napt-get install ended with status ${status} and ${still.join(', ') || 'nothing'} is still missing: run \`apt-get install -y ${names.join(' ')}\` by hand.`,
    );
  }
}

/** Newer Debian releases have renamed some libraries to end in t64. */
async function nameHere(name) {
  const { output } = await run('apt-cache', ['search', '--names-only', `^${name}t64$`], {
    capture: true,
  });
  return output.startsWith(`${name}t64`) ? `${name}t64` : name;
}

function isInPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
