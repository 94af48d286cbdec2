// The bridge: the window gets the functions of the contract, and nothing else of the main process.

import { contextBridge, ipcRenderer } from 'electron';
import type { Api, Requests } from './api.ts';

/** Every request of the contract; the type makes the list complete. */
const requests: Readonly<Record<keyof Requests, true>> = {
  library: true,
  functions: true,
  run: true,
  cancel: true,
  open: true,
  close: true,
  exportRecording: true,
  openScenario: true,
  saveScenario: true,
  windowAt: true,
  overview: true,
  writers: true,
  find: true,
  bisect: true,
  startup: true,
  recentFiles: true,
};

const calls = Object.fromEntries(
  Object.keys(requests).map((name) => [
    name,
    (...args: unknown[]): Promise<unknown> => ipcRenderer.invoke(name, ...args),
  ]),
);

/** Calls back with what the main process sends; the event itself stays on this side. */
function listen<T>(channel: string, callback: (value: T) => void): () => void {
  const forward = (_event: unknown, value: T): void => callback(value);
  ipcRenderer.on(channel, forward);
  return () => ipcRenderer.off(channel, forward);
}

const events: Pick<Api, 'onProgress' | 'onCommand'> = {
  onProgress: (callback) => listen('progress', callback),
  onCommand: (callback) => listen('command', callback),
};

contextBridge.exposeInMainWorld('apicscope', { ...calls, ...events });
