// The one kind of window: sandboxed, isolated, shown when it has something to show.

import { join } from 'node:path';
import { app, BrowserWindow } from 'electron';
import { startUrl } from './rights.ts';

const size = { width: 1440, height: 900, minWidth: 960, minHeight: 600 };

export async function openWindow(): Promise<BrowserWindow> {
  const window = new BrowserWindow({
    ...size,
    title: 'apicscope',
    show: false,
    backgroundColor: '#1e1e1e',
    webPreferences: {
      preload: join(app.getAppPath(), 'out', 'preload', 'index.cjs'),
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
      nodeIntegrationInWorker: false,
      nodeIntegrationInSubFrames: false,
      webviewTag: false,
      webSecurity: true,
      spellcheck: false,
    },
  });
  window.once('ready-to-show', () => window.show());
  await window.loadURL(startUrl);
  return window;
}
