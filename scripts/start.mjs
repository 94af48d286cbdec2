// `npm start`: the application's window; without a display, or with --tour, a guided tour through it.

import { existsSync } from 'node:fs';
import { build } from './setup/build.mjs';
import { withDisplay } from './setup/display.mjs';
import { electronProgram } from './setup/electron.mjs';
import { foreground, sandboxSwitches } from './setup/foreground.mjs';
import { hasDisplay } from './setup/libraries.mjs';
import { entry, environment, Failure, inRoot, projectNode, root, say } from './setup/project.mjs';
import { setUp } from './setup.mjs';

await entry(async () => {
  const args = process.argv.slice(2);
  await setUp();
  await build();
  const env = environment({ ownPrograms: true });
  if (hasDisplay() && !args.includes('--tour')) {
    return foreground(electronProgram(), [...sandboxSwitches(), root, ...args], env);
  }

  const tour = inRoot('scripts', 'tour.ts');
  if (!existsSync(tour)) {
    throw new Failure(
      'There is no display, and no tour to show without one: set DISPLAY and run this again.',
    );
  }
  if (!hasDisplay()) say('There is no display here, so the tour runs on a virtual one.');
  const tourArgs = args.filter((arg) => arg !== '--tour');
  return withDisplay(env, (own) => foreground(projectNode(), [tour, ...tourArgs], own));
});
