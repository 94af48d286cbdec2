// A session with the window, as somebody has it who looks for the step that broke R01.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type App, launchApp } from './app.ts';

const idle = (page: Page): Promise<void> => page.evaluate(() => window.__apicscope.idle());

const press = async (page: Page, ...keys: readonly string[]): Promise<void> => {
  for (const key of keys) {
    await page.keyboard.press(key);
    await idle(page);
  }
};

const textOf = async (page: Page, test: string): Promise<string> =>
  (await page.locator(`[data-test="${test}"]`).first().innerText()).replace(/\s+/g, ' ').trim();

const showTab = async (page: Page, name: string): Promise<void> => {
  await page.locator('.dv-tab', { hasText: name }).first().click();
  await idle(page);
};

/** Keys act on the recording only while no text is being edited. */
const leaveText = (page: Page): Promise<void> =>
  page.evaluate(() => {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
  });

const writeScenario = async (page: Page, text: string): Promise<void> => {
  await showTab(page, 'Scenario');
  await page.locator('[data-test="editor"]').click();
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Delete');
  await page.keyboard.insertText(text);
  await idle(page);
};

const longRun = `scenario "long"
machine { vcpus 1 }
vcpu0 { repeat 1000000 { repeat 1000 { read 0xfee00080 } } }
mm { repeat 1000000 { migrate apic-access-page } }
`;

describe('with R01 on k4.15 recorded at the start', () => {
  let app: App;
  let page: Page;
  beforeAll(async () => {
    app = await launchApp();
    page = app.page;
    await page.locator('[data-test="finding-count"]').waitFor();
    await idle(page);
  });
  afterAll(() => app.close());
  afterEach(() => expect(app.errors).toEqual([]));

  test('the findings are walked with F8, and each is where the trace has it', async () => {
    expect(await textOf(page, 'finding-count')).toContain('4');
    await press(page, 'Home', 'F8');
    expect(await textOf(page, 'step-label')).toContain('free the old one');
    await press(page, 'F8');
    expect(await textOf(page, 'position')).toBe('40');
    expect(await textOf(page, 'step-label')).toBe('VM entry');
    await press(page, 'Shift+F8');
    expect(await textOf(page, 'step-label')).toContain('free the old one');
  });

  test('a step and a step back end where they began, with the same state', async () => {
    await press(page, 'Home', 'F8');
    const before = await textOf(page, 'written');
    const position = await textOf(page, 'position');
    await press(page, 'F11', 'F11', 'Control+F11', 'Control+F11');
    expect(await textOf(page, 'position')).toBe(position);
    expect(await textOf(page, 'written')).toBe(before);
    await press(page, 'End', 'Home', 'ArrowRight');
    expect(await textOf(page, 'position')).toBe('1');
  });

  test('bisecting the invariant lands on the entry, with the last good position beside it', async () => {
    await showTab(page, 'Bisect');
    await page.locator('[data-test="bisect-invariant"]').selectOption('inv-apic-access-hpa');
    await page.locator('[data-test="bisect-run"]').click();
    await page.locator('[data-test="first-bad"]').waitFor();
    await idle(page);
    expect(await textOf(page, 'last-good')).toContain('39');
    expect(await textOf(page, 'first-bad')).toContain('40');
    expect(await textOf(page, 'position')).toBe('40');
  });

  test('bisecting an expression finds the step that freed the page', async () => {
    await showTab(page, 'Bisect');
    await page.locator('[data-test="bisect-invariant"]').selectOption('');
    await page.locator('[data-test="bisect-expression"]').fill('frame[2].freed == 1');
    await page.locator('[data-test="bisect-run"]').click();
    await page.locator('[data-test="first-bad"]', { hasText: '26' }).waitFor();
    await idle(page);
    expect(await textOf(page, 'step-label')).toContain('free the old one');
    await leaveText(page);
  });

  test('the memory view says that the VMCS names a freed frame', async () => {
    await press(page, 'Home', 'F8');
    await showTab(page, 'Memory');
    expect(await textOf(page, 'verdicts')).toContain('pfn 2, which was freed');
  });

  test('dragging the playhead moves the position', async () => {
    await press(page, 'Home');
    const box = await page.locator('[data-test="timeline"] canvas').first().boundingBox();
    if (box === null) throw new Error('the timeline has no canvas');
    const y = box.y + 12;
    await page.mouse.move(box.x + box.width * 0.4, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, y, { steps: 5 });
    await page.mouse.up();
    await idle(page);
    expect(Number(await textOf(page, 'position'))).toBeGreaterThan(20);
    await leaveText(page);
  });

  test('the same scenario under k6.6 runs clean', async () => {
    await showTab(page, 'Scenario');
    await page.locator('[data-test="profile"]').selectOption('k6.6');
    await page.locator('[data-test="run"]').click();
    await page.locator('[data-test="finding-count"]', { hasText: '0 findings' }).waitFor();
    await page.locator('[data-test="profile"]').selectOption('');
    await leaveText(page);
  });

  test('a scenario with an error is not run, and says so where it stands', async () => {
    await writeScenario(page, 'scenario "x"\nprofile k6.7\nvcpu0 { read 0xfee00080 }\n');
    await page.locator('[data-test="problems"]').waitFor();
    await page.keyboard.press('Control+Enter');
    await page.locator('[data-test="scenario-fault"]').waitFor();
    expect(await textOf(page, 'scenario-fault')).toContain('k6.7');
    await writeScenario(page, 'scenario "x"\nprofile k6.6\nvcpu0 { read 0xfee00080 }\n');
    await page.keyboard.press('Control+Enter');
    await page.locator('[data-test="scenario-fault"]').waitFor({ state: 'detached' });
    await idle(page);
    expect(await textOf(page, 'status')).toContain('ended: quiet');
  });

  test('a long run shows its progress and is cancelled with what it has recorded', async () => {
    await writeScenario(page, longRun);
    await page.keyboard.press('Control+Enter');
    await page.locator('[data-test="cancel"]').waitFor();
    await page.locator('[data-test="cancel"]').click();
    await page.locator('[data-test="status"]', { hasText: 'ended: cancelled' }).waitFor();
    expect(await textOf(page, 'finding-count')).toContain('0');
    await leaveText(page);
    await press(page, 'End', 'Control+F11');
  });
});

test('a file that is no recording is refused with a sentence, and the window stays usable', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'apicscope-e2e-file-'));
  const file = join(folder, 'notes.apicrec');
  await writeFile(file, 'these are only notes\n');
  const app = await launchApp(file);
  try {
    const fault = app.page.locator('[data-test="fault"]').first();
    await fault.waitFor();
    expect(await fault.innerText()).toContain('notes.apicrec');
    await app.page.locator('[data-test="library"], [data-test="card-walk"]').first().waitFor();
    expect(app.errors).toEqual([]);
  } finally {
    await app.close();
    await rm(folder, { recursive: true });
  }
});
