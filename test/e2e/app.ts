// Starts the built application for one test and ends it again.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ElectronApplication, _electron as electron, type Page } from 'playwright';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface App {
  readonly electron: ElectronApplication;
  readonly page: Page;
  /** What the page has written to its console as an error, and what it has thrown. */
  readonly errors: readonly string[];
  /** Ends the application and removes its folder. */
  close(): Promise<void>;
}

/** Opens a window of its own, with an empty folder for its data. `args` follow the application. */
export async function launchApp(...args: readonly string[]): Promise<App> {
  const userData = await mkdtemp(join(tmpdir(), 'apicscope-e2e-'));
  const asRoot = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  const application = await electron.launch({
    args: [...asRoot, `--user-data-dir=${userData}`, root, ...args],
    cwd: root,
  });
  const close = async (): Promise<void> => {
    await application.close();
    await rm(userData, { recursive: true, force: true, maxRetries: 5 });
  };
  const page = await application.firstWindow().catch(async (error: unknown) => {
    await close();
    throw error;
  });
  const errors: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.waitForLoadState('load');
  return { electron: application, page, errors, close };
}
