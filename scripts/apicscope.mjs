#!/usr/bin/env node

// The command line program: makes sure of the packages, then runs main/cli.ts under the project's own Node.

import nodeModule from 'node:module';
import { foreground } from './setup/foreground.mjs';
import { entry, inRoot, projectNode } from './setup/project.mjs';
import { setUpPackages } from './setup.mjs';

await entry(async () => {
  await setUpPackages();
  // npm runs its scripts in the project's folder, and says where the user stood.
  const { npm_lifecycle_event: script, INIT_CWD: where } = process.env;
  const folder = where !== undefined && script === 'cli' ? where : process.cwd();
  // Under npm and npx this is the project's Node already: another process would only cost time.
  if (process.features.typescript === 'strip') {
    process.chdir(folder);
    // Compiled once and kept, the sources load in less than half the time.
    nodeModule.enableCompileCache?.(inRoot('node_modules', '.cache', 'apicscope'));
    const { runAsProgram } = await import('../main/cli.ts');
    await runAsProgram();
    return process.exitCode;
  }
  const env = { ...process.env, npm_lifecycle_event: 'cli', INIT_CWD: folder };
  const args = [inRoot('scripts', 'apicscope.mjs'), ...process.argv.slice(2)];
  return foreground(projectNode(), args, env);
});
