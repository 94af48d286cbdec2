/** Fields for the editor: what may follow a path that is being typed, and what a path names. */
import type { Field, RecordType } from '../../arena/fields.ts';
import type { Leaf } from '../../arena/leaves.ts';
import { helpLines } from '../../state/help/index.ts';
import { layoutOf } from '../../state/machine.ts';
import { actorsOf } from '../compile/actors.ts';
import { machineOf } from '../compile/machine.ts';
import { profileAndSwitches } from '../compile/protections.ts';
import { type Found, findPath } from '../expression/paths.ts';
import type { Section } from '../parse/tree.ts';
import { parseScenario } from '../parse.ts';

/** What the scenario has, as far as it can be read. */
export interface Outline {
  readonly layout: RecordType;
  readonly actors: readonly string[];
  /** actors that have a program already */
  readonly programmed: readonly string[];
  readonly vcpus: number;
}

const ignore = (): void => undefined;

export const outlineOf = (text: string): Outline => {
  const { tree } = parseScenario(text);
  const words = tree.find((s) => s.kind === 'machine')?.words ?? [];
  const machine = machineOf(words, ignore);
  const programs = tree.filter(
    (s): s is Extract<Section, { kind: 'program' }> => s.kind === 'program',
  );
  const profile = tree.find(
    (s): s is Extract<Section, { kind: 'profile' }> => s.kind === 'profile',
  );
  const sets = tree.filter((s): s is Extract<Section, { kind: 'set' }> => s.kind === 'set');
  const { switches } = profileAndSwitches(profile, sets, { overrides: {}, report: ignore });
  const actors = actorsOf(programs, machine, { switches, report: ignore });
  return {
    layout: layoutOf({
      vcpus: machine.vcpus,
      actors: actors.length,
      frames: machine.frames,
      memoryPages: machine.memoryPages,
    }),
    actors: actors.map(({ name }) => name),
    programmed: programs.map(({ actor }) => actor.text),
    vcpus: machine.vcpus,
  };
};

/** What the path names. */
export const foundAt = (layout: RecordType, path: string): Found =>
  findPath(layout, { text: path, isNumber: false, offset: 0, length: path.length });

export interface Suggestion {
  readonly label: string;
  readonly detail: string;
  readonly doc: string;
  readonly insert: string;
}

const kindText = ({
  kind,
  width,
  count,
  of,
}: Pick<Field, 'kind' | 'width' | 'count' | 'of'>): string => {
  switch (kind) {
    case 'record':
      return of?.name ?? kind;
    case 'array':
      return `${of?.name ?? kind}[${count}]`;
    case 'bytes':
      return `${count} bytes`;
    case 'flag':
      return 'flag';
    case 'bits':
      return `${width} bits`;
    default:
      return `${kind}${width}`;
  }
};

const fieldSuggestion = (field: Field): Suggestion => ({
  label: field.name,
  detail: kindText(field),
  doc: field.doc,
  insert: field.kind === 'array' ? `${field.name}[0]` : field.name,
});

const elementSuggestions = (field: Field): Suggestion[] => {
  const { format } = field;
  if (field.kind === 'bits' && typeof format === 'object') {
    return Object.entries(format).map(([name, bit]) => ({
      label: name,
      detail: `bit ${bit}`,
      doc: field.doc,
      insert: name,
    }));
  }
  return Array.from({ length: Math.min(field.count, 16) }, (_, i) => ({
    label: String(i),
    detail: kindText(field),
    doc: field.doc,
    insert: String(i),
  }));
};

/** The record that the part of the path before its last dot names. */
const recordBefore = (layout: RecordType, path: string): RecordType | undefined => {
  const dot = path.lastIndexOf('.');
  if (dot < 0) return layout;
  const found = foundAt(layout, path.slice(0, dot));
  return 'record' in found ? found.record : undefined;
};

/** Continuations of a path; `typed` is how many of its characters they replace. */
export const continuations = (
  layout: RecordType,
  path: string,
): { typed: number; suggestions: Suggestion[] } => {
  const last = path.slice(path.lastIndexOf('.') + 1);
  const record = recordBefore(layout, path);
  const bracket = last.indexOf('[');
  if (record === undefined || last.includes(']')) return { typed: 0, suggestions: [] };
  if (bracket < 0) return { typed: last.length, suggestions: record.fields.map(fieldSuggestion) };
  const field = record.fields.find(({ name }) => name === last.slice(0, bracket));
  return {
    typed: last.length - bracket - 1,
    suggestions: field === undefined ? [] : elementSuggestions(field),
  };
};

/** Names of the values of the field at the path. */
export const valueNames = (layout: RecordType, path: string | undefined): string[] => {
  const found = path === undefined ? undefined : foundAt(layout, path);
  const format = found !== undefined && 'leaf' in found ? found.leaf.format : undefined;
  return typeof format === 'object' ? Object.keys(format) : [];
};

const hex = (value: number): string => `0x${value.toString(16)}`;

/** A field told to somebody who points at it. */
export const leafMarkdown = (leaf: Leaf): string => {
  const { path, kind, width, format, tag, doc } = leaf;
  const facts = [kindText({ kind, width, count: width / 8, of: undefined })];
  if (typeof format === 'string') facts.push(`shown as ${format}`);
  if (tag >= 0) facts.push(`number in hardware ${hex(tag)}`);
  const names =
    typeof format !== 'object'
      ? ''
      : `\n\n${Object.entries(format)
          .map(([name, value]) => `\`${name}\` ${value}`)
          .join(' · ')}`;
  return [`**${path}** — ${facts.join(', ')}`, `${doc}${names}`, ...helpLines(path)].join('\n\n');
};
