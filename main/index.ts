// The main process: the window's protocol, its rights, its menu, its worker, and the window.

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { app, BrowserWindow } from 'electron';
import type { Progress } from '../preload/api.ts';
import { handlersFor } from './handlers.ts';
import { answerWindow } from './ipc.ts';
import { setMenu } from './menu.ts';
import { OpenRecordings } from './open_recordings.ts';
import { registerScheme, servePage } from './page_protocol.ts';
import { denyEverything, denySession } from './rights.ts';
import { folderOfUser, startupFor, wordsOf } from './startup.ts';
import { openWindow } from './window.ts';

// Tests give every application its own folder.
const userData = app.commandLine.getSwitchValue('user-data-dir');
if (userData !== '') app.setPath('userData', userData);

registerScheme();
// For root Chromium has no sandbox, and enabling it takes the switch away that says so.
if (!app.commandLine.hasSwitch('no-sandbox')) app.enableSandbox();
app.on('web-contents-created', (_event, contents) => denyEverything(contents));
app.on('window-all-closed', () => app.quit());
app.on('activate', () => {
  if (BrowserWindow.getAllWindows().length === 0) void openWindow();
});

function answerRequests(): void {
  const file = pathToFileURL(join(app.getAppPath(), 'out', 'main', 'worker.js'));
  const recordings = new OpenRecordings(file, sendProgress);
  const words = wordsOf(process.argv, app.getAppPath(), app.isPackaged);
  answerWindow(handlersFor(recordings, startupFor(words, folderOfUser())));
}

function sendProgress(progress: Progress): void {
  for (const window of BrowserWindow.getAllWindows()) {
    window.webContents.send('progress', progress);
  }
}

// Not awaited here: Electron is not ready before this module has been evaluated to its end.
app
  .whenReady()
  .then(() => {
    denySession();
    servePage();
    setMenu();
    answerRequests();
    return openWindow();
  })
  .catch((error: unknown) => {
    process.stderr.write(`The window cannot be opened: ${String(error)}\n`);
    app.exit(1);
  });
