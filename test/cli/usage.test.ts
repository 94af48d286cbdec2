// Arguments: help, and what is said of wrong ones.

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { apicscope, program } from './apicscope.ts';

test('help is an answer, for the program and for each command', async () => {
  const all = await apicscope(['--help']);
  expect(all).toMatchObject({ status: 0, err: '' });
  expect(all.out).toContain('bisect');
  const one = await apicscope(['run', '--help']);
  expect(one).toMatchObject({ status: 0, err: '' });
  expect(one.out).toMatch(/Examples:\n {2}apicscope run R01/);
});

test.each<{ args: string[]; says: RegExp }>([
  { args: [], says: /Name a command/ },
  { args: ['runn', 'x'], says: /unknown command 'runn'.*run/ },
  { args: ['run'], says: /missing required argument 'scenario'/ },
  { args: ['run', 'a', 'b'], says: /too many arguments/ },
  { args: ['run', 'x', '--frobnicate'], says: /unknown option '--frobnicate'/ },
  { args: ['run', 'x', '--steps-max', '-1'], says: /'-1' is invalid.*whole number/ },
  { args: ['run', 'x', '--steps-max', '9'.repeat(400)], says: /whole number/ },
  { args: ['run', 'x', '--steps-max', '1e3'], says: /whole number/ },
  { args: ['run', 'x', '--seed', '4294967296'], says: /from 0 to 4294967295/ },
  { args: ['run', 'x', '--seed', '1', '--schedule', 'mm'], says: /cannot be used with/ },
  { args: ['run', 'x', '--set', 'nonsense'], says: /SWITCH=VALUE/ },
  { args: ['show', 'x', '--at', 'here'], says: /whole number/ },
  { args: ['writers', 'x', 'y', '--limit', '0'], says: /whole number/ },
])('wrong arguments are told in one line: $args', async ({ args, says }) => {
  const { status, out, err } = await apicscope(args);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(says);
  expect(err.trimEnd()).not.toContain('\n');
});

test('with --json a wrong input is a document too', async () => {
  const { status, out, err } = await apicscope(['runn', '--json']);
  expect(status).toBe(2);
  expect(JSON.parse(out)).toEqual({ error: err.trimEnd() });
});

test('a reader that goes away does not harm', async () => {
  const { status, err } = await apicscope(['fields', '--json'], (child) => {
    child.stdout?.destroy();
  });
  expect({ status, err }).toEqual({ status: 0, err: '' });
});

const fullDisk = '/dev/full';

test.skipIf(!existsSync(fullDisk))('an answer that finds no room is told in one sentence', () => {
  const full = openSync(fullDisk, 'w');
  const { status, stderr } = spawnSync(process.execPath, [program, 'scenarios', '--json'], {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  closeSync(full);
  expect(status).toBe(2);
  expect(stderr).toMatch(/^The answer cannot be written: ENOSPC.*\n$/);
});
