// Runs the command line program as a process of its own, as a script would.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const program = join(root, 'scripts', 'apicscope.mjs');

export interface Result {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Longer than any command of the tests needs: a hang is a failure with a name. */
const timeoutMs = 20_000;

/** Runs `apicscope ARGS`; `afterStart` may do something to the process. */
export function apicscope(
  args: readonly string[],
  afterStart: (child: ReturnType<typeof spawn>) => void = () => undefined,
): Promise<Result> {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  afterStart(child);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === null) reject(new Error(`apicscope ${args.join(' ')} ended by ${signal}`));
      else resolve({ status: code, out, err });
    });
  });
}

/** Runs a command that answers with JSON; standard output must be that one document. */
export async function answer<T>(...args: readonly string[]): Promise<{ status: number; json: T }> {
  const { status, out } = await apicscope([...args, '--json']);
  return { status, json: JSON.parse(out) as T };
}

/** A folder that is removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'apicscope-cli-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
