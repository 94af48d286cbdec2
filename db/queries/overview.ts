/** Who ran how much, in equal parts of a range of steps? Reads one short column of the windows. */
import { demand } from '../failure.ts';
import type { Reader } from '../reader.ts';

export interface Overview {
  readonly from: number;
  readonly to: number;
  readonly buckets: number;
  /** steps per actor, level and bucket: index (actor × 3 + level) × buckets + bucket */
  readonly counts: Uint32Array;
}

const bucketsMax = 1 << 16;

/** Counts steps `from` to `to − 1`. */
export const overview = (reader: Reader, from: number, to: number, buckets: number): Overview => {
  reader.demandPosition(from);
  reader.demandPosition(to);
  demand(from <= to, `${reader.path}: position ${to} is before ${from}; exchange them`);
  demand(
    Number.isInteger(buckets) && buckets > 0 && buckets <= bucketsMax,
    `${reader.path}: ${buckets} parts are asked for; ask for 1 to ${bucketsMax}`,
  );
  const counts = new Uint32Array(reader.header.actors.length * 3 * buckets);
  if (from < to) {
    const last = reader.windowIdAt(to - 1);
    for (let id = reader.windowIdAt(from); id <= last; id++) {
      addWindow(reader.lanes(id), { from, to, buckets, counts });
    }
  }
  return { from, to, buckets, counts };
};

const addWindow = (
  window: { readonly first: number; readonly count: number; readonly lanes: Uint8Array },
  { from, to, buckets, counts }: Overview,
): void => {
  const { first, count, lanes } = window;
  const start = Math.max(from, first);
  const end = Math.min(to, first + count);
  for (let step = start; step < end; step++) {
    const lane = lanes[step - first]! * 3 + lanes[count + step - first]!;
    const bucket = Math.floor(((step - from) * buckets) / (to - from));
    counts[lane * buckets + bucket]!++;
  }
};
