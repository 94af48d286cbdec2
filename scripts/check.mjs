// `npm run check`: everything about the sources that can be judged without running them.

import { availableParallelism } from 'node:os';
import { entry, environment, inRoot, isProgram, projectNode, run, say } from './setup/project.mjs';
import { setUpPackages } from './setup.mjs';

const packageFile = (...parts) => inRoot('node_modules', ...parts);

/** name, program, arguments */
const checks = [
  ['format and lint', '@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'],
  ['types', 'typescript/bin/tsc', '-p', 'tsconfig.json'],
  ['types of the window', 'vue-tsc/bin/vue-tsc.js', '-p', 'renderer/tsconfig.json'],
  ['types of the end-to-end tests', 'typescript/bin/tsc', '-p', 'test/e2e/tsconfig.json'],
  ['imports and tidiness', 'vitest/vitest.mjs', 'run', '--project', 'unit', 'test/tidy'],
  ['dead code', 'knip/bin/knip.js'],
];

/** Runs all of them; what a failed one said is printed. */
export async function check() {
  const waiting = [...checks];
  const result = { passed: 0, failed: 0 };
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [name, program, ...args] = next;
      const options = {
        capture: true,
        env: { ...environment({ ownPrograms: true }), NO_COLOR: '1' },
      };
      const { status, output } = await run(projectNode(), [packageFile(program), ...args], options);
      result[status === 0 ? 'passed' : 'failed'] += 1;
      say(status === 0 ? `✓ ${name}` : `✗ ${name}\n${output.trimEnd()}\n`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, work));
  return result;
}

if (isProgram(import.meta.url)) {
  await entry(async () => {
    await setUpPackages();
    const { failed } = await check();
    return failed === 0 ? 0 : 1;
  });
}
