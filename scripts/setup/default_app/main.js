// What an official Electron does with `electron [switches] [-r module] DIR`: starts the application in DIR.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { app } from 'electron';

const modules = [];
let folder;
const given = process.argv.slice(1);
for (let k = 0; k < given.length && folder === undefined; k += 1) {
  if (given[k] === '-r' || given[k] === '--require') {
    k += 1;
    modules.push(given[k]);
  } else if (!given[k].startsWith('-')) {
    folder = resolve(given[k]);
  }
}

const require = createRequire(import.meta.url);
for (const module of modules) require(resolve(module));

if (folder === undefined) {
  process.stderr.write('Name the folder of the application: electron DIR.\n');
  process.exit(1);
}
const description = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
Object.defineProperty(process, 'defaultApp', { value: true, enumerable: true });
app.setVersion(description.version ?? '0.0.0');
app.setName(description.productName ?? description.name);
app.setAppPath(folder);
app.setPath('userData', join(app.getPath('appData'), app.getName()));
await import(pathToFileURL(join(folder, description.main ?? 'index.js')).href);
