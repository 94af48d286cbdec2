// Unpacks chosen files of a zip archive as streams: the archive may be larger than memory should be.

import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { Failure } from './project.mjs';

const endSignature = 0x06054b50;
const endBytes = 22;
const entrySignature = 0x02014b50;
const entryBytes = 46;
const localBytes = 30;
const commentMax = 0xffff;
const deflated = 8;

/**
 * Writes every file for which `target(name)` gives a path there; the others are skipped.
 * @param {string} archive
 * @param {(name: string) => string | undefined} target
 */
export async function unzip(archive, target) {
  const file = await open(archive);
  try {
    for (const entry of await directory(file, archive)) {
      const path = entry.name.endsWith('/') ? undefined : target(entry.name);
      if (path !== undefined) await extract(file, archive, entry, path);
    }
  } finally {
    await file.close();
  }
}

async function directory(file, archive) {
  const { size } = await file.stat();
  const tail = await bytes(file, Math.max(0, size - commentMax - endBytes), size);
  let end = tail.length - endBytes;
  while (end >= 0 && tail.readUInt32LE(end) !== endSignature) end -= 1;
  if (end < 0)
    throw new Failure(`${archive} is not a complete zip archive: delete it and run this again.`);

  const count = tail.readUInt16LE(end + 10);
  const start = tail.readUInt32LE(end + 16);
  const table = await bytes(file, start, start + tail.readUInt32LE(end + 12));
  const entries = [];
  for (let at = 0, k = 0; k < count; k += 1) {
    if (table.readUInt32LE(at) !== entrySignature) {
      throw new Failure(`The directory of ${archive} is damaged: delete it and run this again.`);
    }
    const nameLength = table.readUInt16LE(at + 28);
    entries.push({
      method: table.readUInt16LE(at + 10),
      packed: table.readUInt32LE(at + 20),
      mode: table.readUInt32LE(at + 38) >>> 16,
      offset: table.readUInt32LE(at + 42),
      name: table.toString('utf8', at + entryBytes, at + entryBytes + nameLength),
    });
    at += entryBytes + nameLength + table.readUInt16LE(at + 30) + table.readUInt16LE(at + 32);
  }
  return entries;
}

async function extract(file, archive, entry, path) {
  const local = await bytes(file, entry.offset, entry.offset + localBytes);
  const start = entry.offset + localBytes + local.readUInt16LE(26) + local.readUInt16LE(28);
  await mkdir(dirname(path), { recursive: true });
  const output = createWriteStream(path, { mode: entry.mode & 0o777 || 0o644 });
  if (entry.packed === 0) {
    output.end();
    return;
  }
  const input = createReadStream(archive, {
    start,
    end: start + entry.packed - 1,
    highWaterMark: 1 << 20,
  });
  if (entry.method === deflated)
    await pipeline(input, createInflateRaw({ chunkSize: 1 << 20 }), output);
  else await pipeline(input, output);
}

async function bytes(file, from, to) {
  const buffer = Buffer.alloc(to - from);
  await file.read(buffer, 0, buffer.length, from);
  return buffer;
}
