// Questions about open recordings.

import { basename } from 'node:path';
import { openRecording, type Recording } from '#db/recording.ts';
import { compileScenario } from '#sim/scenario/compile.ts';
import { scheduleText } from '#sim/sched/schedule.ts';
import type { OpenRecording } from '../../preload/api.ts';
import { Library, type ScenarioText, textIn } from '../bundled.ts';
import { InputError } from '../input_error.ts';
import { libraryEntry } from '../library_entry.ts';
import type { ReaderRequests, WorkerHandlers } from '../worker_protocol.ts';

export function readerHandlers(): WorkerHandlers<ReaderRequests> {
  const recordings = new Map<number, Recording>();
  const opened = (number: number): Recording => {
    const recording = recordings.get(number);
    if (recording !== undefined) return recording;
    throw new InputError('This recording is not open any more; open it again.');
  };
  return {
    library: (folder, files) =>
      [...new Library(folder).all(), ...files.map(fileSource)].map((source) =>
        libraryEntry(source, compileScenario(source.text).scenario),
      ),
    open(number, path) {
      const recording = openRecording(path);
      recordings.get(number)?.close();
      recordings.set(number, recording);
      return described(number, recording);
    },
    close(number) {
      recordings.get(number)?.close();
      return recordings.delete(number);
    },
    windowAt(number, position) {
      const { first, count, bytes } = opened(number).windowAt(position);
      // A copy of its own, because the buffer is handed over.
      return { first, count, bytes: new Uint8Array(bytes) };
    },
    overview: (number, from, to, buckets) => opened(number).overview(from, to, buckets),
    writers: (number, path, before, limit) =>
      opened(number)
        .writers(path, { before, limit })
        .map(({ step, actor, function: name, label, from, to }) => ({
          step,
          actor,
          function: name,
          label,
          from,
          to,
        })),
  };
}

const fileSource = (path: string): ScenarioText => ({
  name: basename(path, '.scn'),
  path,
  text: textIn(path),
  isBundled: false,
});

function described(number: number, recording: Recording): OpenRecording {
  const { path, header, end, steps, bytes, recoveredTo, layout, boot, sites, findings } = recording;
  return {
    recording: number,
    path,
    name: header.name,
    title: header.title,
    scenario: header.scenario,
    profile: header.profile,
    switches: header.switches,
    schedule: end?.schedule ?? scheduleText({ items: recording.choices(), policy: undefined }),
    actors: header.actors,
    steps,
    halt: end?.halt ?? 'cancelled',
    modelVersion: header.modelVersion,
    bytes,
    recoveredTo,
    layout,
    // A copy of its own, because buffers of an answer are handed over.
    boot: boot.slice(),
    sites,
    findings,
  };
}
