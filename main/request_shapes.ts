// What the arguments of each request must be: whatever the page sends is asserted at the door.

import { z } from 'zod';
import type { Requests } from '../preload/api.ts';

const index = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const textMax = 1 << 20;
const text = z.string().max(textMax);
const path = z.string().min(1).max(4096);
const name = z.string().max(200);

const runRequest = z.strictObject({
  name,
  text,
  profile: name.optional(),
  switches: z.record(name, name).optional(),
  schedule: z
    .string()
    .max(16 * textMax)
    .optional(),
  seed: index.max(0xffff_ffff).optional(),
  stepsMax: index.min(1).optional(),
});

const bisectRequest = z.strictObject({
  recording: index,
  invariant: name.optional(),
  expression: text.optional(),
  from: index.optional(),
  to: index.optional(),
});

/** Arguments that are left out arrive as undefined. */
export const requestShapes = {
  library: z.tuple([]),
  functions: z.tuple([]),
  run: z.tuple([index, runRequest]),
  cancel: z.tuple([index]),
  open: z.tuple([path.optional()]),
  close: z.tuple([index]),
  exportRecording: z.tuple([index]),
  openScenario: z.tuple([]),
  saveScenario: z.tuple([path.optional(), text]),
  windowAt: z.tuple([index, index]),
  overview: z.tuple([index, index, index, index.min(1).max(16_384)]),
  writers: z.tuple([index, path, index, index.min(1).max(10_000)]),
  find: z.tuple([index, text, index, index, index.min(1).max(1_000_000)]),
  bisect: z.tuple([index, bisectRequest]),
  startup: z.tuple([]),
  recentFiles: z.tuple([]),
} as const satisfies Record<keyof Requests, z.ZodType>;
