// Random schedules under all checks: the mended twin of a race stays clean, whatever the order.

import { expect, test, vi } from 'vitest';
import { compileLibrary, libraryIds } from '../sim/scenario_run.ts';
import { complaints, seeds } from './complaints.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

/**
 * R07-k6.6-two-vcpus is not among them: it breaks checks, because the page is given up while
 * "virtualize APIC accesses" stays on, which KVM never does on VMX.
 */
const protectedIds = libraryIds.filter(
  (id) =>
    id.endsWith('-fixed') ||
    id.startsWith('apic-') ||
    ['R07-k6.6', 'R07-k6.6-no-invalid-test'].includes(id),
);

test.each(protectedIds)(`%s is clean under ${seeds} random schedules`, (id) => {
  expect(complaints(compileLibrary(id), id)).toEqual([]);
});
