// A window without a screen: the stores over the fake contract, with the bundled scenarios.

import { createPinia, setActivePinia } from 'pinia';
import type { Api } from '../../preload/api.ts';
import { usePosition } from '../../renderer/stores/position.ts';
import { useRecordings } from '../../renderer/stores/recordings.ts';
import { pendingCount } from '../../renderer/stores/requests.ts';
import { fakeApi } from './fake_api.ts';

const files = import.meta.glob<string>('../../main/library/**/*.scn', {
  query: '?raw',
  import: 'default',
  eager: true,
});

export const libraryText = (id: string): string => {
  const text = Object.entries(files).find(([path]) => path.endsWith(`/${id}.scn`))?.[1];
  if (text === undefined) throw new Error(`The library has no ${id}.`);
  return text;
};

/** Resolves when no request is pending. */
export const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 1000; turn++) {
    await new Promise((resolve) => setTimeout(resolve));
    if (pendingCount.value === 0) return;
  }
  throw new Error('Requests are still pending after 1000 turns.');
};

/** Fresh stores, and the names of the requests that they make. */
export const newSession = (change: (api: Api) => Api = (api) => api) => {
  const asked: string[] = [];
  const api = change(fakeApi({ texts: {} }));
  const listening = new Proxy(api, {
    get: (target, name: keyof Api) => {
      asked.push(name);
      return target[name];
    },
  });
  Object.assign(globalThis, { window: { apicscope: listening } });
  setActivePinia(createPinia());
  return { asked };
};

/** A session in which a scenario was recorded. */
export const recordedText = async (name: string, text: string, change?: (api: Api) => Api) => {
  const session = newSession(change);
  const recordings = useRecordings();
  const position = usePosition();
  if (!(await recordings.run({ name, text }))) throw new Error(recordings.fault);
  await settled();
  return { ...session, recordings, position };
};

/** The same with a bundled scenario. */
export const recorded = (id: string, change?: (api: Api) => Api) =>
  recordedText(id, libraryText(id), change);
