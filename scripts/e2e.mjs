// `npm run e2e -- [files] [-t name]`: the tests that drive the built application.

import { build } from './setup/build.mjs';
import { withDisplay } from './setup/display.mjs';
import { foreground } from './setup/foreground.mjs';
import { entry, environment, inRoot, projectNode } from './setup/project.mjs';
import { setUp } from './setup.mjs';

await entry(async () => {
  await setUp();
  await build();
  const runner = inRoot('node_modules', 'vitest', 'vitest.mjs');
  const args = [runner, 'run', '--project', 'e2e', ...process.argv.slice(2)];
  return withDisplay(environment({ ownPrograms: true }), (env) =>
    foreground(projectNode(), args, env),
  );
});
