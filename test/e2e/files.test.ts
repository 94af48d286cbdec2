// Files that are named on the command line.

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, launchApp } from './app.ts';
import { idle, textOf } from './driving.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;
let recording: string;

/** Ends with the status of the command line, which is 1 where an invariant broke. */
const record = (scenario: string, file: string): Promise<number> =>
  new Promise((resolve) => {
    const args = ['main/cli.ts', 'run', scenario, '-o', file];
    const child = execFile(process.execPath, args, { cwd: root }, () =>
      resolve(child.exitCode ?? -1),
    );
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apicscope-e2e-file-'));
  recording = join(folder, 'r15.apicrec');
  expect(await record('R15-k6.6-buggy', recording)).toBe(1);
});
afterAll(() => rm(folder, { recursive: true }));

const withApp = async (file: string, look: (app: App) => Promise<void>): Promise<void> => {
  const app = await launchApp(file);
  try {
    await look(app);
    expect(app.errors).toEqual([]);
  } finally {
    await app.close();
  }
};

test('a recording is shown at its first finding', () =>
  withApp(recording, async ({ page }) => {
    await page.locator('[data-test="finding-count"]', { hasText: '◆' }).waitFor();
    await idle(page);
    expect(await textOf(page, 'status')).toContain('R15');
    expect(Number(await textOf(page, 'position'))).toBeGreaterThan(0);
    expect(await textOf(page, 'step-label')).not.toBe('');
  }));

/** What does not open is told in one sentence, and the window can still be used. */
const refusal = async ({ page }: App): Promise<string> => {
  await page.locator('[data-test="fault"]').waitFor();
  await page.locator('[data-test="library"], [data-test="card-walk"]').first().waitFor();
  return textOf(page, 'fault');
};

test('a truncated recording is refused with one sentence', async () => {
  const bytes = await readFile(recording);
  const cut = join(folder, 'cut.apicrec');
  await writeFile(cut, bytes.subarray(0, Math.floor(bytes.length / 2)));
  await withApp(cut, async (app) => {
    const sentence = await refusal(app);
    expect(sentence).toContain('cut.apicrec');
    expect(sentence).toMatch(/cut short, \d+ of \d+ bytes/);
    expect(sentence).not.toMatch(/fault of apicscope|\. /);
  });
});

test('a file that is no recording is refused with a sentence, and the window stays usable', async () => {
  const notes = join(folder, 'notes.apicrec');
  await writeFile(notes, 'these are only notes\n');
  await withApp(notes, async (app) => {
    expect(await refusal(app)).toContain('notes.apicrec');
  });
});
