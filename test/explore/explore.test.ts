// Random schedules under all checks: the mended twin of a race stays clean, whatever the order.

import { expect, test, vi } from 'vitest';
import { compileLibrary, libraryIds } from '../sim/scenario_run.ts';
import { complaints, seeds } from './complaints.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const protectedIds = libraryIds.filter((id) => id.endsWith('-fixed') || id.startsWith('R07'));

test.each(protectedIds)(`%s is clean under ${seeds} random schedules`, (id) => {
  expect(complaints(compileLibrary(id), id)).toEqual([]);
});
