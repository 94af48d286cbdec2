// app://apicscope/… serves the built page, and nothing outside its folder, under a strict policy.

import { readFile } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { app, protocol } from 'electron';

const scheme = 'app';
const host = 'apicscope';

/** Where the window starts. */
export const pageUrl = `${scheme}://${host}/index.html`;

/**
 * Only what the page's own files need; styles are inline because editor and docking set them so.
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "worker-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "font-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ttf': 'font/ttf',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
  '.wasm': 'application/wasm',
};

/** Must run before the application is ready. */
export function registerScheme(): void {
  protocol.registerSchemesAsPrivileged([
    { scheme, privileges: { standard: true, secure: true, supportFetchAPI: true } },
  ]);
}

export function servePage(): void {
  const folder = join(app.getAppPath(), 'out', 'renderer');
  protocol.handle(scheme, (request) => answer(folder, request));
}

async function answer(folder: string, request: Request): Promise<Response> {
  const path = fileFor(folder, request.url);
  if (path === undefined || request.method !== 'GET') return refusal(403);
  try {
    return new Response(new Uint8Array(await readFile(path)), {
      headers: {
        'content-type': types[extname(path)] ?? 'application/octet-stream',
        'content-security-policy': contentSecurityPolicy,
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      },
    });
  } catch {
    // Whatever the reason, the page learns only that there is no such file.
    return refusal(404);
  }
}

const refusal = (status: number): Response =>
  new Response('', { status, headers: { 'content-security-policy': contentSecurityPolicy } });

/** The file that a URL names, or undefined if it is not inside `folder`. */
export function fileFor(folder: string, url: string): string | undefined {
  const { hostname, pathname } = new URL(url);
  if (hostname !== host) return undefined;
  let decoded: string;
  try {
    decoded = decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
  if (decoded.includes('\0')) return undefined;
  const path = join(folder, decoded);
  const inside = relative(folder, path);
  return inside === '' || inside === '..' || inside.startsWith(`..${sep}`) ? undefined : path;
}
