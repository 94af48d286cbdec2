// Driving the window: keys, panels, and reading what it says.

import type { Page } from 'playwright';
import { type App, launchApp } from './app.ts';

/** Resolves when nothing is pending, and what came of it has been drawn. */
export const idle = (page: Page): Promise<void> => page.evaluate('window.__apicscope.idle()');

/** The window as it opens for somebody new: R01 on k4.15 is recorded, and drawn. */
export const launchRecorded = async (): Promise<App> => {
  const app = await launchApp();
  await app.page.locator('[data-test="finding-count"]').waitFor();
  await idle(app.page);
  return app;
};

export const press = async (page: Page, ...keys: readonly string[]): Promise<void> => {
  for (const key of keys) {
    await page.keyboard.press(key);
    await idle(page);
  }
};

export const textOf = async (page: Page, test: string): Promise<string> =>
  (await page.locator(`[data-test="${test}"]`).first().innerText()).replace(/\s+/g, ' ').trim();

export const showTab = async (page: Page, name: string): Promise<void> => {
  await page.locator('.dv-tab', { hasText: name }).first().click();
  await idle(page);
};

/** Keys act on the recording only while no text is being edited. */
export const leaveText = (page: Page): Promise<void> =>
  page.evaluate(() => {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
  });

export const writeScenario = async (page: Page, text: string): Promise<void> => {
  await showTab(page, 'Scenario');
  await page.locator('[data-test="editor"]').click();
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Delete');
  await page.keyboard.insertText(text);
  await idle(page);
};
