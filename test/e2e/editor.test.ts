// Writing a scenario: what the editor offers, explains and marks, and which keys pass it.

import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { App } from './app.ts';
import { idle, launchRecorded, textOf, writeScenario } from './driving.ts';

let app: App;
let page: Page;
beforeAll(async () => {
  app = await launchRecorded();
  page = app.page;
});
afterAll(() => app.close());
afterEach(() => expect(app.errors).toEqual([]));

const start = 'scenario "x"\nvcpu0 { read 0xfee00080 }\n';

test('completion offers the profiles, and Escape closes it before anything else', async () => {
  await writeScenario(page, `${start}profile `);
  await page.keyboard.press('Control+Space');
  const offered = page.locator('.suggest-widget.visible');
  await offered.locator('.monaco-list-row', { hasText: 'k6.6' }).waitFor();
  await page.keyboard.press('Escape');
  await offered.waitFor({ state: 'detached' });
  expect(await page.locator('[data-test="editor"] .view-lines').innerText()).toContain('profile');
});

test('a switch is explained where the mouse rests on it', async () => {
  await writeScenario(page, `${start}set apic-reload-retry off\n`);
  await page.locator('.view-line span', { hasText: /^apic-reload-retry$/ }).hover();
  await page.locator('.monaco-hover', { hasText: 'mmu_lock' }).waitFor();
});

test('all functions of the model are known, others are marked as they are typed', async () => {
  const through = (name: string): string =>
    `${start}mm { migrate apic-access-page }\nschedule { mm through ${name} }\n`;
  await writeScenario(page, through('kvm_unmap_gfn_rang'));
  await page.locator('[data-test="problems"]').waitFor();
  await writeScenario(page, through('kvm_inhibit_apic_access_page'));
  await page.locator('[data-test="problems"]').waitFor({ state: 'detached' });
});

test('commands reach the window while the editor has the keyboard', async () => {
  await writeScenario(page, 'scenario "typed"\nprofile k6.6\nvcpu0 { read 0xfee00080 }\n');
  await page.keyboard.press('Control+Enter');
  await page.locator('[data-test="status"]', { hasText: 'k6.6' }).waitFor();
  await idle(page);
  expect(await textOf(page, 'finding-count')).toContain('0 findings');
  const text = await page.locator('[data-test="editor"] .view-lines').innerText();
  expect(text.trim().split('\n')).toHaveLength(3);
  await page.keyboard.press('Control+p');
  await page.locator('[data-test="palette"]').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('[data-test="palette"]').waitFor({ state: 'detached' });
});
