// Where things are, and the few ways in which the scripts speak and start programs.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const inRoot = (...parts) => join(root, ...parts);

const binFolder = inRoot('node_modules', '.bin');

/** A failure that is told in one sentence, without a stack. */
export class Failure extends Error {}

/** Progress goes to standard error: standard output belongs to the program that is started. */
export const say = (sentence) => process.stderr.write(`${sentence}\n`);

/** The project's own Node where it is installed, else the one that runs this script. */
export function projectNode() {
  const own = inRoot(
    'node_modules',
    'node',
    'bin',
    process.platform === 'win32' ? 'node.exe' : 'node',
  );
  return existsSync(own) ? own : process.execPath;
}

/** The environment with the project's programs first (or not at all, for what replaces them). */
export function environment({ ownPrograms }) {
  const others = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== binFolder);
  const folders = ownPrograms ? [binFolder, ...others] : others;
  return { ...process.env, PATH: folders.join(delimiter) };
}

let noteStart = (_pid) => undefined;

/** Calls `note` with the process id of every program that `run` starts from now on. */
export function onStart(note) {
  noteStart = note;
}

/** The programs that `run` has started and that have not ended. */
export const children = new Set();

/**
 * Runs a program to its end.
 * @returns {Promise<{ status: number, output: string }>} `output` is empty unless `capture` is set
 */
export function run(program, args, options = {}) {
  const { capture = false, quiet = false, timeout, ...spawnOptions } = options;
  const stdio = capture ? ['ignore', 'pipe', 'pipe'] : quiet ? 'ignore' : ['ignore', 2, 2];
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio, timeout, ...spawnOptions });
    let output = '';
    children.add(child);
    noteStart(child.pid);
    child.stdout?.on('data', (text) => (output += text));
    child.stderr?.on('data', (text) => (output += text));
    child.on('error', (error) => {
      children.delete(child);
      reject(new Failure(`${program} cannot be started: ${error.message}.`));
    });
    child.on('close', (code) => {
      children.delete(child);
      resolve({ status: code ?? 1, output });
    });
  });
}

/** Runs the entry function of a script: one sentence and a status instead of a stack. */
export async function entry(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}

/** Whether the script `url` is the program, not a module that another script imports. */
export const isProgram = (url) => process.argv[1] === fileURLToPath(url);
