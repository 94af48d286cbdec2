// A session with the window, as somebody has it who looks for the step that broke R01.

import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { App } from './app.ts';
import {
  idle,
  launchRecorded,
  leaveText,
  press,
  showTab,
  textOf,
  writeScenario,
} from './driving.ts';

const goTo = async (page: Page, position: number): Promise<void> => {
  await page.keyboard.press('g');
  await page.keyboard.type(String(position));
  await press(page, 'Enter');
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
    app = await launchRecorded();
    page = app.page;
  });
  afterAll(() => app.close());
  afterEach(() => expect(app.errors).toEqual([]));

  test('the findings are walked with F8, and each is where the trace has it', async () => {
    expect(await textOf(page, 'finding-count')).toContain('4');
    await press(page, 'Home', 'F8');
    expect(await textOf(page, 'step-label')).toContain('free the old one');
    await press(page, 'F8');
    expect(await textOf(page, 'position')).toBe('49');
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
    expect(await textOf(page, 'last-good')).toContain('48');
    expect(await textOf(page, 'first-bad')).toContain('49');
    expect(await textOf(page, 'position')).toBe('49');
    const concerned = await textOf(page, 'concerned');
    expect(concerned).toContain('apic_access_addr 0x2000');
    expect(concerned).toContain('pte[0].pfn pfn 3');
    expect(concerned).toContain('vmx_set_apic_access_page_addr');
  });

  test('bisecting an expression finds the step that freed the page', async () => {
    await showTab(page, 'Bisect');
    await page.locator('[data-test="bisect-invariant"]').selectOption('');
    await page.locator('[data-test="bisect-expression"]').fill('frame[2].freed == 1');
    await page.locator('[data-test="bisect-run"]').click();
    await page.locator('[data-test="first-bad"]', { hasText: '35' }).waitFor();
    await idle(page);
    expect(await textOf(page, 'step-label')).toContain('free the old one');
    await leaveText(page);
  });

  test('the memory view says that the VMCS names a freed frame', async () => {
    await press(page, 'Home', 'F8');
    await showTab(page, 'Memory');
    expect(await textOf(page, 'verdicts')).toContain('pfn 2, which was freed');
  });

  test('F10 goes over a call, Shift+F11 out of the function, and Ctrl goes back', async () => {
    await goTo(page, 28);
    await press(page, 'F11');
    expect(await textOf(page, 'position')).toBe('29');
    await press(page, 'Control+F11', 'F10');
    expect(await textOf(page, 'position')).toBe('30');
    await press(page, 'Control+F10');
    expect(await textOf(page, 'position')).toBe('28');
    await press(page, 'Shift+F11');
    expect(await textOf(page, 'step-label')).toContain('release pfn 2');
    await press(page, 'Control+Shift+F11');
    expect(Number(await textOf(page, 'position'))).toBeLessThan(29);
  });

  test('the tree of the state marks what the step changed', async () => {
    await press(page, 'Home', 'F8');
    await showTab(page, 'State');
    await page.locator('[data-test="state-filter"]').fill('frame[2]');
    const freed = page.locator('[data-path="frame[2].freed"]');
    await freed.getByRole('img', { name: 'changed in this step' }).waitFor();
    expect((await freed.innerText()).replace(/\s+/g, ' ')).toContain('0 → 1');
    const dirty = page.locator('[data-path="frame[2].dirty"]');
    expect(await dirty.getByRole('img').count()).toBe(0);
    await page.locator('[data-test="state-filter"]').fill('');
    await leaveText(page);
  });

  test('L goes to the last writer of the selected field, Shift+L to the next one', async () => {
    await press(page, 'Home', 'F8');
    await showTab(page, 'Memory');
    await page.locator('[data-test="last-writer"]').click();
    await idle(page);
    expect(await textOf(page, 'step-label')).toContain('VMWRITE APIC_ACCESS_ADDR');
    const path = 'vcpu[0].vmcs01.apic_access_addr';
    await page.locator('[data-test="written"] button', { hasText: path }).click();
    await press(page, 'End', 'l');
    expect(await textOf(page, 'position')).toBe('31');
    await press(page, 'Home', 'Shift+L');
    expect(await textOf(page, 'position')).toBe('31');
    await press(page, 'Escape');
  });

  test('F7 walks the differences from marker A', async () => {
    await press(page, 'Home', 'Control+1', 'F8', 'F7');
    const chosen = page.locator('[data-test="changes"] [aria-current=true]');
    const first = await chosen.innerText();
    await press(page, 'F7');
    expect(await chosen.innerText()).not.toBe(first);
    await press(page, 'Shift+F7');
    expect(await chosen.innerText()).toBe(first);
    await press(page, 'Escape');
  });

  test('every pane is reached by F6, and its content by Tab', async () => {
    const reached = new Set<string>();
    for (let i = 0; i < 6; i++) {
      await press(page, 'F6');
      reached.add(await page.locator('.dv-tab:focus').innerText());
      await page.keyboard.press('Tab');
      expect(await page.locator('.dv-groupview :focus').count()).toBe(1);
    }
    expect(reached.size).toBe(6);
    await leaveText(page);
  });

  test('another theme changes the colours', async () => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const choose = async (theme: string): Promise<void> => {
      await page.keyboard.press('Control+Shift+P');
      await page.keyboard.type(`theme ${theme}`);
      await page.keyboard.press('Enter');
      await page.locator(`html[data-theme="${theme}"]`).waitFor();
    };
    const seen = new Set<string>();
    for (const theme of ['dark', 'contrast', 'light']) {
      await choose(theme);
      seen.add(await ground());
    }
    expect(seen.size).toBe(3);
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
  });

  test('without the retry the race is back under k6.6', async () => {
    await page.locator('[data-test="switches"]').click();
    await page.locator('[data-test="switch-apic-reload-retry"]').selectOption('off');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Control+Enter');
    await page.locator('[data-test="finding-count"]', { hasText: '◆' }).waitFor();
    expect(await textOf(page, 'status')).toContain('apic-reload-retry off');
    await page.locator('[data-test="profile"]').selectOption('');
    await leaveText(page);
  });

  test('a scenario with an error is not run, and says so where it stands', async () => {
    await writeScenario(page, 'scenario "x"\nprofile k6.7\nvcpu0 { read 0xfee00080 }\n');
    await page.locator('[data-test="problems"]').waitFor();
    await page.keyboard.press('Control+Enter');
    await page.locator('[data-test="fault"]').waitFor();
    expect(await textOf(page, 'fault')).toContain('k6.7');
    await writeScenario(page, 'scenario "x"\nprofile k6.6\nvcpu0 { read 0xfee00080 }\n');
    await page.keyboard.press('Control+Enter');
    await page.locator('[data-test="fault"]').waitFor({ state: 'detached' });
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
