// What no page in this application may do: leave, open windows, ask for rights, reach a network.

import { session, type WebContents } from 'electron';
import { pageUrl } from './page_protocol.ts';

/** The one URL from which the window may be loaded. */
export const startUrl = process.env['ELECTRON_RENDERER_URL'] ?? pageUrl;

const localSchemes = new Set(['app:', 'devtools:', 'data:', 'blob:', 'chrome-extension:']);

export function denyEverything(contents: WebContents): void {
  contents.setWindowOpenHandler(() => ({ action: 'deny' }));
  contents.on('will-navigate', (event) => event.preventDefault());
  contents.on('will-redirect', (event) => event.preventDefault());
  contents.on('will-attach-webview', (event) => event.preventDefault());
}

/** Applies to everything that the default session loads. */
export function denySession(): void {
  const { defaultSession } = session;
  defaultSession.setPermissionRequestHandler((_contents, _permission, answer) => answer(false));
  defaultSession.setPermissionCheckHandler(() => false);
  defaultSession.setDevicePermissionHandler(() => false);
  defaultSession.setSpellCheckerEnabled(false);
  defaultSession.webRequest.onBeforeRequest((details, answer) => {
    answer({ cancel: !isLocal(details.url) });
  });
}

function isLocal(url: string): boolean {
  const { protocol, host } = new URL(url);
  if (localSchemes.has(protocol)) return true;
  // While developing, the page comes from a server on this machine.
  return startUrl !== pageUrl && host === new URL(startUrl).host;
}
