// `npm run docs`: writes the documents that are made from declarations.

import { writeFileSync } from 'node:fs';
import { documents } from './docs/documents.ts';

for (const { file, text } of documents()) writeFileSync(file, text);
