// Where the bundled scenarios are, for programs that run from the sources.

import { fileURLToPath } from 'node:url';

export const libraryFolder = fileURLToPath(new URL('library', import.meta.url));
