// The window opens, shows the application, and is shut off from everything else.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, launchApp } from './app.ts';

let app: App;
beforeAll(async () => {
  app = await launchApp();
});
afterAll(() => app.close());

test('the window opens under its own name and without errors', async () => {
  expect(await app.page.title()).toBe('apicscope');
  expect(new URL(app.page.url()).host).toBe('apicscope');
  expect(await app.page.evaluate(() => document.querySelector('#app')?.childElementCount)).not.toBe(
    0,
  );
  expect(app.errors).toEqual([]);
});

test('the page cannot make code out of text', async () => {
  const outcome = await app.page.evaluate(
    () =>
      new Promise<string>((resolve) => {
        document.addEventListener('securitypolicyviolation', (event) =>
          resolve(event.violatedDirective),
        );
        const script = document.createElement('script');
        script.textContent = 'window.wasRun = true';
        document.head.append(script);
      }),
  );
  expect(outcome).toMatch(/^script-src/);
  // Later, because what the test itself runs in the page is exempt from the policy.
  const evaluated = await app.page.evaluate(
    () =>
      new Promise<string>((resolve) => {
        setTimeout(() => {
          try {
            // biome-ignore lint/security/noGlobalEval: that it does not work is what is tested
            resolve(`got ${globalThis.eval('1')}`);
          } catch (error) {
            resolve(error instanceof Error ? error.name : String(error));
          }
        });
      }),
  );
  expect(evaluated).toBe('EvalError');
  expect(await app.page.evaluate(() => 'wasRun' in window)).toBe(false);
});

test('the page sees the bridge and nothing of Node', async () => {
  const seen = await app.page.evaluate(() =>
    ['require', 'process', 'module', 'Buffer', 'apicscope'].filter((name) => name in window),
  );
  expect(seen).toEqual(['apicscope']);
  expect(await app.page.evaluate(() => window.apicscope.startup())).toMatchObject({ ok: true });
});

test('files outside the page and other hosts cannot be read', async () => {
  const answers = await app.page.evaluate(async () => {
    const status = (url: string) =>
      fetch(url).then(
        (response) => response.status,
        () => 'refused',
      );
    return Promise.all([
      status('app://apicscope/..%2fmain%2findex.js'),
      status('app://apicscope/%2e%2e/%2e%2e/package.json'),
      status('app://elsewhere/index.html'),
      status('http://127.0.0.1:1/'),
    ]);
  });
  expect(answers).toEqual([403, expect.not.stringMatching(/^200$/), 'refused', 'refused']);
});

test('the page cannot open windows or leave', async () => {
  const { page, electron } = app;
  expect(await page.evaluate(() => window.open('https://example.org/') === null)).toBe(true);
  await page.evaluate(() => {
    location.href = 'https://example.org/';
  });
  expect(new URL(page.url()).host).toBe('apicscope');
  expect(await electron.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows().length)).toBe(
    1,
  );
});
