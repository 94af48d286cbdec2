// `npm run dev`: the application, rebuilt while its sources are edited.

import { withDisplay } from './setup/display.mjs';
import { foreground, sandboxSwitches } from './setup/foreground.mjs';
import { entry, environment, inRoot, projectNode } from './setup/project.mjs';
import { setUp } from './setup.mjs';

await entry(async () => {
  await setUp();
  const builder = inRoot('node_modules', 'electron-vite', 'bin', 'electron-vite.js');
  const args = [builder, 'dev', '--watch', '--', ...sandboxSwitches(), ...process.argv.slice(2)];
  const env = environment({ ownPrograms: true });
  return withDisplay(env, (own) => foreground(projectNode(), args, own));
});
