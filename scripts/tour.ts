// A walk through the window by itself: what `npm start` does where there is no display.
// It makes the same way as the walk in README.md and keeps a picture of each stop in out/tour;
// `--picture FILE` keeps that of the first finding in a file besides.

import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright';
import { launchApp } from '../test/e2e/app.ts';

const pictureAt = process.argv.indexOf('--picture');
const picture = pictureAt < 0 ? undefined : process.argv[pictureAt + 1];
const pictures = fileURLToPath(new URL('../out/tour/', import.meta.url));

interface Stop {
  /** name of the picture */
  readonly name: string;
  readonly told: string;
  go(page: Page): Promise<void>;
}

const idle = (page: Page): Promise<void> => page.evaluate('window.__apicscope.idle()');

const press = async (page: Page, ...keys: readonly string[]): Promise<void> => {
  for (const key of keys) {
    await page.keyboard.press(key);
    await idle(page);
  }
};

/** Brings a panel to the front by the name on its tab. */
const show = async (page: Page, panel: string): Promise<void> => {
  await page.locator('.dv-tab', { hasText: panel }).first().click();
  await idle(page);
  await page
    .locator('[data-test="toolbar"], body')
    .first()
    .click({ position: { x: 700, y: 8 } });
};

/** What an element says; a dash if it is not there, as the step at position 0. */
const text = async (page: Page, test: string): Promise<string> => {
  const element = page.locator(`[data-test="${test}"]`);
  if ((await element.count()) === 0) return '–';
  return (await element.first().innerText()).replace(/\s+/g, ' ').trim();
};

const stops: readonly Stop[] = [
  {
    name: 'opened',
    told: 'R01 on k4.15, recorded on the spot',
    go: async (page) => {
      await page.locator('[data-test="finding-count"]').waitFor();
      await press(page, 'Home');
    },
  },
  {
    name: 'first-finding',
    told: 'F8: the step after which the race is lost',
    go: async (page) => {
      await press(page, 'F8');
      await show(page, 'Memory');
    },
  },
  {
    name: 'entry',
    told: 'F8 again: the guest is entered with the address of a freed frame',
    go: async (page) => {
      await press(page, 'F8');
      await show(page, 'Memory');
    },
  },
  {
    name: 'bisect',
    told: 'bisected: last good position, first bad one, and the step between them',
    go: async (page) => {
      await show(page, 'Bisect');
      await page.locator('[data-test="bisect-invariant"]').selectOption('inv-apic-access-hpa');
      await page.locator('[data-test="bisect-run"]').click();
      await page.locator('[data-test="first-bad"]').waitFor();
      await idle(page);
    },
  },
  {
    name: 'vmcs',
    told: 'vmcs01 at that position',
    go: (page) => show(page, 'VMCS'),
  },
  {
    name: 'apic-page',
    told: 'the register page of the local APIC',
    go: (page) => show(page, 'APIC page'),
  },
  {
    name: 'diff',
    told: 'what the reload changed: marker A before it, marker B behind it',
    go: async (page) => {
      await press(page, 'Home', 'Control+1', 'F8', 'Control+2');
      await show(page, 'Diff');
    },
  },
  {
    name: 'dark',
    told: 'the same in the dark theme',
    go: async (page) => {
      await page.emulateMedia({ colorScheme: 'dark' });
      await show(page, 'Memory');
    },
  },
  {
    name: 'fixed',
    told: 'the same scenario under k6.6: the retry check holds, nothing is found',
    go: async (page) => {
      await page.emulateMedia({ colorScheme: 'light' });
      await show(page, 'Scenario');
      await page.locator('[data-test="profile"]').selectOption('k6.6');
      await press(page, 'Control+Enter');
      await page.locator('[data-test="finding-count"]', { hasText: '0 findings' }).waitFor();
      await press(page, 'End');
    },
  },
];

const app = await launchApp();
const failed = (sentence: string): void => {
  console.error(sentence);
  process.exitCode = 1;
};
try {
  await rm(pictures, { recursive: true, force: true });
  await mkdir(pictures, { recursive: true });
  const { page } = app;
  await app.electron.evaluate(({ BrowserWindow }) => {
    BrowserWindow.getAllWindows()[0]?.setContentSize(1440, 900);
  });
  for (const [index, stop] of stops.entries()) {
    await stop.go(page);
    await idle(page);
    const file = `${String(index + 1).padStart(2, '0')}-${stop.name}.png`;
    await page.screenshot({ path: join(pictures, file) });
    console.log(`${file}: ${stop.told}`);
    console.log(`  position ${await text(page, 'position')}, ${await text(page, 'step-label')}`);
  }
  if (picture !== undefined) await copyFile(join(pictures, '02-first-finding.png'), picture);
  console.log(`${stops.length} pictures are in out/tour.`);
  if (app.errors.length > 0) failed(`The window complained: ${app.errors.join('; ')}`);
} catch (error) {
  failed(`The tour stopped: ${error instanceof Error ? error.message : String(error)}`);
} finally {
  await app.close();
}
