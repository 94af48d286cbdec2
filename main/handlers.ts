// What answers the requests of the window: dialogs and files here, the rest by the worker.

import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  app,
  BrowserWindow,
  dialog,
  type OpenDialogOptions,
  type SaveDialogOptions,
} from 'electron';
import '#sim/boot.ts';
import { registeredFunctions } from '#sim/steps.ts';
import type { OpenRecording, RunRequest } from '../preload/api.ts';
import { textIn } from './bundled.ts';
import type { Handlers } from './ipc.ts';
import type { OpenRecordings } from './open_recordings.ts';
import { RecentFiles } from './recent_files.ts';
import { recordingName } from './recording_name.ts';
import type { Startup } from './startup.ts';

const recordingFilter = { name: 'Recordings', extensions: ['apicrec'] };
const scenarioFilter = { name: 'Scenarios', extensions: ['scn'] };

export function handlersFor(recordings: OpenRecordings, startup: Startup): Handlers {
  const { reader, jobs } = recordings;
  const recent = new RecentFiles(join(app.getPath('userData'), 'recent.json'));
  const ownFolder = join(app.getPath('userData'), 'recordings');
  const libraryFolder = join(app.getAppPath(), 'main', 'library');
  // A file that was named at the start stands in the library beside the bundled scenarios.
  const startFiles = startup.file === undefined ? [] : [startup.file];
  const startFileId = startup.file && basename(startup.file, '.scn');
  const scenarios = new ScenarioFiles(startFiles);

  const open = async (path: string): Promise<OpenRecording> => {
    const opened = await recordings.open(path);
    recent.add(path);
    return opened;
  };
  const run = async (job: number, request: RunRequest): Promise<OpenRecording> => {
    await mkdir(ownFolder, { recursive: true });
    const path = join(ownFolder, recordingName(request.name, new Date(), ownFolder));
    await jobs.call('run', job, request, path);
    return open(path);
  };

  return {
    library: () => reader.call('library', libraryFolder, startFiles),
    functions: () =>
      registeredFunctions().map(({ name, world, source }) => ({ name, world, source })),
    run,
    cancel: (job) => jobs.call('cancel', job),
    async open(path) {
      const chosen = path ?? (await askToOpen({ filters: [recordingFilter] }));
      return chosen === undefined ? undefined : open(chosen);
    },
    close: (recording) => recordings.close(recording),
    exportRecording: (recording) => exportRecording(recordings.pathOf(recording)),
    openScenario: () => scenarios.open(),
    saveScenario: (path, text) => scenarios.save(path, text),
    windowAt: (...args) => reader.call('windowAt', ...args),
    overview: (...args) => reader.call('overview', ...args),
    writers: (...args) => reader.call('writers', ...args),
    find: (recording, ...args) => jobs.call('find', recordings.pathOf(recording), ...args),
    bisect: (job, request) =>
      jobs.call('bisect', job, request, recordings.pathOf(request.recording)),
    startup: () => ({ open: startup.open, scenario: startup.scenario ?? startFileId }),
    recentFiles: () => recent.list(),
  };
}

async function exportRecording(source: string): Promise<string | undefined> {
  const path = await askToSave({ defaultPath: basename(source), filters: [recordingFilter] });
  if (path === undefined || path === source) return path;
  await beside(path, (unfinished) => copyFile(source, unfinished));
  return path;
}

/** The user's own scenarios; the page may write only to files that a person has named. */
class ScenarioFiles {
  readonly #chosen = new Set<string>();

  constructor(named: readonly string[]) {
    for (const path of named) this.#chosen.add(path);
  }

  async open(): Promise<{ path: string; text: string } | undefined> {
    const path = await askToOpen({ filters: [scenarioFilter] });
    if (path === undefined) return undefined;
    const text = textIn(path);
    this.#chosen.add(path);
    return { path, text };
  }

  async save(known: string | undefined, text: string): Promise<string | undefined> {
    const path =
      known !== undefined && this.#chosen.has(known)
        ? known
        : await askToSave({ defaultPath: known ?? 'new.scn', filters: [scenarioFilter] });
    if (path === undefined) return undefined;
    await beside(path, (unfinished) => writeFile(unfinished, text));
    this.#chosen.add(path);
    return path;
  }
}

/** Writes beside the name and renames, so that a failure leaves what was there. */
async function beside(path: string, write: (unfinished: string) => Promise<void>): Promise<void> {
  const unfinished = `${path}.${randomUUID()}.new`;
  try {
    await write(unfinished);
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
}

async function askToOpen(options: OpenDialogOptions): Promise<string | undefined> {
  const window = BrowserWindow.getFocusedWindow();
  const all: OpenDialogOptions = { ...options, properties: ['openFile'] };
  const { filePaths } = await (window === null
    ? dialog.showOpenDialog(all)
    : dialog.showOpenDialog(window, all));
  return filePaths[0];
}

async function askToSave(options: SaveDialogOptions): Promise<string | undefined> {
  const window = BrowserWindow.getFocusedWindow();
  const { filePath } = await (window === null
    ? dialog.showSaveDialog(options)
    : dialog.showSaveDialog(window, options));
  return filePath === '' ? undefined : filePath;
}
