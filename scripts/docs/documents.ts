// The documents that are made from declarations: where they are and what they say.

import { fileURLToPath } from 'node:url';
import { Library } from '../../main/bundled.ts';
import { compiled } from '../../main/compiled.ts';
import { libraryEntry } from '../../main/library_entry.ts';
import { libraryFolder } from '../../main/library_folder.ts';
import { racesDocument } from './races.ts';

export const documents = (): readonly { readonly file: string; readonly text: string }[] => {
  const entries = new Library(libraryFolder)
    .all()
    .map((source) => libraryEntry(source, compiled(source)));
  return [
    {
      file: fileURLToPath(new URL('../../docs/races.md', import.meta.url)),
      text: racesDocument(entries),
    },
  ];
};
