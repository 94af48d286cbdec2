// One set-up at a time: a file that names the process which holds it.
//
// The file appears with its content (it is linked into place), so nobody ever reads an empty one.
// A killed set-up leaves its file behind; the next one finds that the process is gone and moves the
// file away. Moving is atomic, so of several that wait only one succeeds. A program that the killed
// set-up had started may still be at work (npm, say): its id is in the file too, and is waited for.

import { once } from 'node:events';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { children, inRoot, onStart, say } from './project.mjs';

const lockFile = inRoot('.setup-lock');
const retryMs = 200;

/** Runs `work` while no other set-up of this folder runs. */
export async function withLock(work) {
  await take();
  const letGo = () => rmSync(lockFile, { force: true });
  const stop = async (signal) => {
    const running = [...children];
    for (const child of running) child.kill(signal);
    await Promise.all(running.map((child) => child.exitCode ?? once(child, 'exit')));
    letGo();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  onStart((child) => {
    writeFileSync(ownFile(), holder(child));
    renameSync(ownFile(), lockFile);
  });
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    return await work();
  } finally {
    onStart(() => undefined);
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
    letGo();
  }
}

async function take() {
  let told = false;
  for (;;) {
    if (create()) return;
    const text = read(lockFile);
    if (text === undefined) continue;
    const alive = processesIn(text).find(isAlive);
    if (alive !== undefined) {
      if (!told) say(`Another set-up (process ${alive.pid}) is at work here; waiting for it.`);
      told = true;
      await delay(retryMs);
    } else {
      discard(text);
    }
  }
}

const ownFile = () => `${lockFile}.${process.pid}`;

/** The content of the file: the set-up, and the program that works for it. */
function holder(child) {
  const processes = [process.pid, ...(child === undefined ? [] : [child])];
  return JSON.stringify(processes.map((pid) => ({ pid, started: startTime(pid) })));
}

function create() {
  writeFileSync(ownFile(), holder());
  try {
    linkSync(ownFile(), lockFile);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(ownFile(), { force: true });
  }
}

function discard(deadText) {
  const aside = `${lockFile}.${process.pid}.old`;
  try {
    renameSync(lockFile, aside);
  } catch (error) {
    if (error.code === 'ENOENT') return;
    throw error;
  }
  // Somebody else may have replaced the file since it was read: theirs is put back.
  if (read(aside) !== deadText) renameSync(aside, lockFile);
  else rmSync(aside, { force: true });
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A file that is no list of processes was not made here and holds nothing. */
function processesIn(text) {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list : [];
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

function isAlive({ pid, started }) {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error.code === 'ESRCH') return false;
  }
  return startTime(pid) === started;
}

/** Process ids are used again; the time of the start tells two processes apart (Linux only). */
function startTime(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
