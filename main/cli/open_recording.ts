// Opens a recording for one command and closes it again, whatever happens.

import { openRecording, type Recording } from '#db/recording.ts';
import { InputError } from '../input_error.ts';
import { whole } from './options.ts';

export async function withRecording<T>(
  path: string,
  use: (recording: Recording) => T | Promise<T>,
): Promise<T> {
  const recording = openRecording(path);
  try {
    return await use(recording);
  } finally {
    recording.close();
  }
}

/** A position that stands among the arguments. */
export function positionIn(recording: Recording, text: string): number {
  try {
    return whole(0, recording.steps)(text);
  } catch {
    throw new InputError(
      `There is no position "${text}" in ${recording.path}; they go from 0 to ${recording.steps}.`,
    );
  }
}
