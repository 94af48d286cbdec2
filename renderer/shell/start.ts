// What the window does when it opens: reads the library, and opens what the command line asked for.

import { useLibrary } from '../stores/library.ts';
import { useRecordings } from '../stores/recordings.ts';
import { api, ask } from '../stores/requests.ts';
import { useScenario } from '../stores/scenario.ts';

/** Says whether the command line asked for something. */
export const startUp = async (): Promise<boolean> => {
  const library = useLibrary();
  const recordings = useRecordings();
  await Promise.all([library.load(), recordings.loadRecent()]);
  const asked = await ask(api().startup());
  if (asked.open !== undefined) await recordings.openFile(asked.open);
  const entry = asked.scenario === undefined ? undefined : library.entryOf(asked.scenario);
  if (entry !== undefined) await useScenario().record(entry);
  return asked.open !== undefined || entry !== undefined;
};
