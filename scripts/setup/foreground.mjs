// Runs the program for whose sake a script exists: same terminal, same signals, same status.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Failure, root } from './project.mjs';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** @returns {Promise<number>} the status with which to exit */
export function foreground(program, args, env, stdio = 'inherit') {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, env, stdio });
    const handlers = forwarded.map((signal) => [signal, () => child.kill(signal)]);
    for (const [signal, handler] of handlers) process.on(signal, handler);
    child.on('error', (error) =>
      reject(new Failure(`${program} cannot be started: ${error.message}.`)),
    );
    child.on('close', (code, signal) => {
      for (const [name, handler] of handlers) process.off(name, handler);
      resolve(code ?? 128 + (constants.signals[signal] ?? 0));
    });
  });
}

/** Chromium's sandbox does not start for root. */
export const sandboxSwitches = () => (process.getuid?.() === 0 ? ['--no-sandbox'] : []);
