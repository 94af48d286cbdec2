/**
 * A machine of a few fields that takes steps which a number decides: enough for a recording, and
 * the same steps can be taken again to know what a recording must say.
 */
import { Arena } from '#sim/arena/arena.ts';
import {
  array,
  bits,
  bytes,
  counter,
  flag,
  layOut,
  nested,
  oneOf,
  type RecordType,
  record,
  s32,
  u8,
  u32,
  u64,
} from '#sim/arena/fields.ts';
import type { RecordingHeader, SiteEntry } from '../../db/header.ts';

const StackFrame = record('stack_frame', 'a called function', { site: u32('where it stands') });

const Actor = record('actor', 'what acts', {
  level: oneOf({ L0: 0, L1: 1, L2: 2 }, 'who executes'),
  depth: counter('called functions'),
  stack: array(StackFrame, 4, 'the call stack'),
});

const Device = record('device', 'fields of every kind', {
  wide: u64('two words'),
  signed: s32('a number of either sign'),
  a: flag({ at: 12, bit: 0 }, 'shares its word'),
  b: flag({ at: 12, bit: 1 }, 'shares its word'),
  nv: u8({ at: 14 }, 'shares its word'),
  irr: bits(64, 'a set of bits'),
});

const Machine = record('machine', 'a small machine', {
  actor: array(Actor, 'actors', 'the actors'),
  device: nested(Device, 'a device'),
  page: bytes(4096, 'memory'),
  cell: array(record('cell', 'a word', { value: u32('a value') }), 'cells', 'words to write'),
});

export const sitesOfSynthetic: readonly SiteEntry[] = Array.from({ length: 40 }, (_, i) => ({
  id: (0x9e37_79b9 * (i + 1)) >>> 0,
  function: `function_${i >> 2}`,
  label: `step ${i & 3}`,
  world: 'kvm',
  source: 'arch/x86/kvm/x86.c',
}));

/** A seeded generator: xorshift32. */
export const randomFrom = (seed: number): (() => number) => {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
};

export interface Synthetic {
  readonly arena: Arena;
  readonly layout: RecordType;
  readonly header: RecordingHeader;
  /** Takes and closes a step; gives the actor that took it. */
  step(): number;
}

export const syntheticSiteOf = (id: number): SiteEntry | undefined =>
  sitesOfSynthetic.find((site) => site.id === id);

export const headerOf = (layout: RecordType, actors: number, cells: number): RecordingHeader => ({
  name: 'synthetic',
  title: 'A synthetic run',
  scenario: '# nothing to see\n',
  profile: 'none',
  switches: { one: 'on' },
  actors: Array.from({ length: actors }, (_, i) => `actor${i}`),
  dimensions: { actors, cells },
  layout,
  modelVersion: 'test',
});

export interface SyntheticOptions {
  readonly seed?: number;
  readonly actors?: number;
  readonly cells?: number;
}

/** About three writes a step: the site, and one or two of a few dozen words. */
export const synthetic = (options: SyntheticOptions = {}): Synthetic => {
  const { seed = 1, actors = 3, cells = 64 } = options;
  const layout = layOut(Machine, { actors, cells });
  const arena = new Arena(layout.bytes >>> 2);
  const actorWords = (layout.fields[0]?.of?.bytes ?? 0) >>> 2;
  const device = (layout.fields[1]?.offset ?? 0) >>> 2;
  const page = (layout.fields[2]?.offset ?? 0) >>> 2;
  const cell = (layout.fields[3]?.offset ?? 0) >>> 2;
  const random = randomFrom(seed);
  for (let a = 0; a < actors; a++) {
    arena.store(a * actorWords + 1, 1);
    arena.store(a * actorWords + 2, sitesOfSynthetic[a]?.id ?? 0);
  }
  arena.dropLog();
  const places = Uint32Array.from(sitesOfSynthetic, (site) => site.id);
  let at = 0;
  const step = (): number => {
    const r = random();
    // An actor goes on for a few steps, through a loop of sites, as model code does.
    if (r % 7 === 0) at = (r >>> 8) % actors;
    const base = at * actorWords;
    const next = arena.position % places.length;
    arena.store(base + 2, places[next]!);
    if (r % 50 === 0) arena.store(base, (r >>> 4) % 3);
    const kind = next % 8;
    if (kind < 4) arena.store(cell + ((next * 5) % cells), arena.position);
    else if (kind === 4) arena.store(device + 3, (r >>> 5) & 3);
    else if (kind === 5) arena.store(device + 4 + (r & 1), 1 << (r >>> 27));
    else if (kind === 6) arena.store(device, arena.words[device]! + 1);
    else arena.store(page + (r & 15), r);
    if (next % 3 !== 0) arena.store(cell + (next % cells), arena.words[cell + (next % cells)]! + 1);
    arena.closeStep();
    return at;
  };
  return { arena, layout, header: headerOf(layout, actors, cells), step };
};
