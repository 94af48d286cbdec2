// The panel of races: found with the keyboard, and its scenarios open from there.

import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { App } from './app.ts';
import { idle, launchRecorded, press, textOf } from './driving.ts';

let app: App;
let page: Page;
beforeAll(async () => {
  app = await launchRecorded();
  page = app.page;
});
afterAll(() => app.close());
afterEach(() => expect(app.errors).toEqual([]));

test('F1 shows the races, words find one, and Enter tells it', async () => {
  await press(page, 'F1');
  await page.locator('[data-test="races-filter"]:focus').waitFor();
  await page.keyboard.type('r15-k6.6 cleared after');
  await press(page, 'Enter');
  expect(await textOf(page, 'races-count')).toMatch(/^1 of \d+$/);
  const story = await textOf(page, 'story-R15');
  expect(story).toContain('breaks inv-req-not-lost');
  expect(story).toContain('req-clear-before-handle off');
  await press(page, 'ArrowDown', 'Enter');
  expect(await page.locator('[data-test="story-R15"]').count()).toBe(0);
  await press(page, 'Enter');
});

test('its twins open in the editor, and run', async () => {
  await page.locator('[data-test="run-R15-k6.6-fixed"]').click();
  await idle(page);
  expect(await textOf(page, 'finding-count')).toMatch(/no findings|0/);
  await page.locator('[data-test="show-R15-k6.6-buggy"]').click();
  await page.locator('[data-test="editor"]').waitFor();
  await idle(page);
  expect(await page.locator('[data-test="editor"]').innerText()).toContain('R15');
});
