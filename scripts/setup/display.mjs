// A display of our own where the machine has none.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { hasDisplay } from './libraries.mjs';
import { Failure } from './project.mjs';

const screen = '1600x1000x24';

/** Runs `work` with an environment that has a display: the machine's, or a virtual one for that time. */
export async function withDisplay(env, work) {
  if (hasDisplay()) return work(env);
  // The server picks a free number and writes it to the descriptor that it is given.
  const args = ['-displayfd', '3', '-screen', '0', screen, '-nolisten', 'tcp', '-noreset'];
  const server = spawn('Xvfb', args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
  const failed = once(server, 'error').then(([error]) => error.message);
  const ended = once(server, 'exit').then(([code]) => `it ended with status ${code}`);
  const written = once(server.stdio[3], 'data').then(([text]) => ({ number: String(text).trim() }));
  const started = await Promise.race([written, failed, ended]);
  if (typeof started === 'string') {
    throw new Failure(
      `The virtual display Xvfb did not start (${started}): set DISPLAY to a display that can be used.`,
    );
  }
  try {
    return await work({ ...env, DISPLAY: `:${started.number}` });
  } finally {
    if (server.exitCode === null) {
      server.kill();
      await ended;
    }
  }
}
