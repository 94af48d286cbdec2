/** Reads the small tables of a recording and checks every value of them. */
import type Database from 'better-sqlite3';
import { demand, messageOf, RecordingError } from './failure.ts';
import {
  actorsMax,
  type Finding,
  type RecordingEnd,
  type RecordingHeader,
  type SiteEntry,
} from './header.ts';
import { inflate, metaBytesMax, rowCrc } from './rows.ts';
import { checkedLayout, isCount, isObject, type Json } from './stored_layout.ts';

const rowsMax = 1 << 20;
const cellBytesMax = 1 << 26;

const bad = (what: string): never => {
  throw new RecordingError(`${what} is damaged`);
};

/** Rows in ascending order of their first column; a damaged tree could repeat them for ever. */
const rowsOf = function* (db: Database.Database, sql: string): Generator<Json> {
  let count = 0;
  for (const row of db.prepare(sql).iterate()) {
    demand(++count <= rowsMax, 'it has too many rows');
    yield row as Json;
  }
};

export const text = (value: unknown, what: string): string =>
  typeof value === 'string' && value.length <= cellBytesMax ? value : bad(what);

export const count = (value: unknown, max: number, what: string): number =>
  isCount(value, max) ? value : bad(what);

export const blob = (value: unknown, what: string): Uint8Array =>
  value instanceof Uint8Array && value.length <= cellBytesMax ? value : bad(what);

const json = (value: string, what: string): unknown => {
  try {
    return JSON.parse(value);
  } catch (error) {
    throw new RecordingError(`${what} is damaged (${messageOf(error)})`);
  }
};

const decoder = new TextDecoder();

const readMeta = (db: Database.Database): Map<string, unknown> => {
  const meta = new Map<string, unknown>();
  for (const row of rowsOf(db, 'SELECT key, value, crc FROM meta')) {
    const key = text(row['key'], 'a row of meta');
    const cell = row['value'];
    const packed = cell instanceof Uint8Array ? cell : text(cell, `meta ${key}`);
    if (rowCrc(key, packed) !== row['crc']) bad(`meta ${key}`);
    const value =
      typeof packed === 'string' ? packed : decoder.decode(inflate(packed, 2 * metaBytesMax));
    meta.set(key, json(value, `meta ${key}`));
  }
  return meta;
};

const stringRecord = (value: unknown, what: string): Readonly<Record<string, string>> =>
  isObject(value) && Object.values(value).every((v) => typeof v === 'string')
    ? (value as Readonly<Record<string, string>>)
    : bad(what);

const strings = (value: unknown, max: number, what: string): readonly string[] =>
  Array.isArray(value) && value.length <= max && value.every((v) => typeof v === 'string')
    ? (value as string[])
    : bad(what);

const dimensionsOf = (value: unknown): Readonly<Record<string, number>> =>
  isObject(value) && Object.values(value).every((v) => isCount(v, 1 << 20))
    ? (value as Readonly<Record<string, number>>)
    : bad('meta dimensions');

const headerFrom = (meta: Map<string, unknown>): RecordingHeader => {
  const string = (key: string): string => text(meta.get(key), `meta ${key}`);
  return {
    name: string('name'),
    title: string('title'),
    scenario: string('scenario'),
    profile: string('profile'),
    switches: stringRecord(meta.get('switches'), 'meta switches'),
    actors: strings(meta.get('actors'), actorsMax, 'meta actors'),
    dimensions: dimensionsOf(meta.get('dimensions')),
    layout: checkedLayout(meta.get('layout')),
    modelVersion: string('modelVersion'),
  };
};

/** Undefined if the recorder did not finish. */
const endFrom = (meta: Map<string, unknown>): RecordingEnd | undefined => {
  if (!meta.has('halt')) return undefined;
  const counters = meta.get('counters');
  if (!isObject(counters)) return bad('meta counters');
  for (const value of Object.values(counters)) {
    if (typeof value !== 'number' && typeof value !== 'string') bad('meta counters');
  }
  return {
    halt: text(meta.get('halt'), 'meta halt'),
    message: text(meta.get('message'), 'meta message'),
    schedule: text(meta.get('schedule'), 'meta schedule'),
    counters: counters as RecordingEnd['counters'],
  };
};

/** The header, and how the run ended if it did. */
export const readHeader = (
  db: Database.Database,
): { header: RecordingHeader; end: RecordingEnd | undefined } => {
  const meta = readMeta(db);
  const header = headerFrom(meta);
  const actors = header.layout.fields.find((field) => field.name === 'actor')?.count;
  demand(
    header.actors.length > 0 && actors === header.actors.length,
    'its layout has not as many actors as there are names',
  );
  return { header, end: endFrom(meta) };
};

export const readSites = (db: Database.Database): SiteEntry[] => {
  const sites: SiteEntry[] = [];
  const sql = 'SELECT id, function, label, world, source, crc FROM site';
  for (const row of rowsOf(db, sql)) {
    const site = {
      id: count(row['id'], 0xffff_ffff, 'a site'),
      function: text(row['function'], 'a site'),
      label: text(row['label'], 'a site'),
      world: text(row['world'], 'a site'),
      source: text(row['source'], 'a site'),
    };
    const { id, label, world, source } = site;
    if (rowCrc(id, site.function, label, world, source) !== row['crc']) bad(`site ${id}`);
    sites.push(site);
  }
  return sites;
};

export const readFindings = (db: Database.Database, steps: number): Finding[] => {
  const findings: Finding[] = [];
  const sql = 'SELECT id, "check", position, step, actor, vcpu, message, fields, crc FROM finding';
  for (const row of rowsOf(db, sql)) {
    const fields = text(row['fields'], 'a finding');
    const finding = {
      check: text(row['check'], 'a finding'),
      position: count(row['position'], steps, 'a finding'),
      step: Number(row['step']),
      actor: Number(row['actor']),
      vcpu: Number(row['vcpu']),
      message: text(row['message'], 'a finding'),
    };
    const { check, position, step, actor, vcpu, message } = finding;
    if (
      rowCrc(findings.length, check, position, step, actor, vcpu, message, fields) !== row['crc']
    ) {
      bad(`finding ${findings.length}`);
    }
    findings.push({ ...finding, fields: strings(json(fields, 'a finding'), 1024, 'a finding') });
  }
  return findings;
};

/** The arena at position 0. */
export const readBoot = (db: Database.Database, words: number): Uint32Array => {
  const row = db.prepare('SELECT words, body, crc FROM boot WHERE id = 0').get();
  if (!isObject(row)) return bad('the boot image');
  const body = blob(row['body'], 'the boot image');
  demand(row['words'] === words, 'its boot image and its layout differ in size');
  if (rowCrc(words, body) !== row['crc']) bad('the boot image');
  const bytes = inflate(body, words * 4);
  demand(bytes.length === words * 4, 'its boot image and its layout differ in size');
  return new Uint32Array(bytes.buffer);
};
