// `npm test`: set-up, checks, unit tests, build, end-to-end tests; the last line is the sum of all.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check } from './check.mjs';
import { build } from './setup/build.mjs';
import { withDisplay } from './setup/display.mjs';
import { foreground } from './setup/foreground.mjs';
import { entry, environment, Failure, inRoot, projectNode, say } from './setup/project.mjs';
import { setUp } from './setup.mjs';

const runner = inRoot('node_modules', 'vitest', 'vitest.mjs');

await entry(async () => {
  const results = [];
  try {
    await setUp();
    results.push(await check());
    results.push(await vitest('unit', environment({ ownPrograms: true })));
    results.push(await built());
    results.push(
      await withDisplay(environment({ ownPrograms: true }), (env) => vitest('e2e', env)),
    );
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say(error.message);
    results.push({ passed: 0, failed: 1 });
  }
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed\n`);
  return sum('failed') === 0 ? 0 : 1;
});

async function built() {
  await build();
  return { passed: 1, failed: 0 };
}

/** Runs one set of tests and counts its results. A file that cannot be loaded counts as one failure. */
async function vitest(project, env) {
  say(`\nTests: ${project}`);
  const folder = mkdtempSync(join(tmpdir(), 'apicscope-test-'));
  const report = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const args = [runner, 'run', '--project', project, ...reporters];
    const status = await foreground(projectNode(), args, env);
    if (!existsSync(report)) return { passed: 0, failed: 1 };
    const {
      numPassedTests: passed,
      numFailedTests,
      testResults,
    } = JSON.parse(readFileSync(report, 'utf8'));
    const broken = testResults.filter(
      (file) =>
        file.status === 'failed' && !file.assertionResults.some((one) => one.status === 'failed'),
    );
    const failed = numFailedTests + broken.length;
    return { passed, failed: status !== 0 && failed === 0 ? 1 : failed };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
