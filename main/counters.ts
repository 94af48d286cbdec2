// What a run cost: the counters of the machine at its end, each by its path, and sums over the
// vCPUs.

import type { RecordType } from '#sim/arena/fields.ts';
import { leavesMatching, valueAt } from '#sim/arena/leaves.ts';

const globs = ['vm.stat.*', 'vcpu[*].stat.*', 'cpu[*].ipis'];

/**
 * `vm_exits` is the sum of `vcpu[0].stat.vm_exits`, `vcpu[1].stat.vm_exits` …; those are there too.
 */
export function countersOf(layout: RecordType, words: Uint32Array): Record<string, number> {
  const sums = new Map<string, number>();
  const each = new Map<string, number>();
  for (const glob of globs) {
    for (const leaf of leavesMatching(layout, glob)) {
      const name = leaf.path.slice(leaf.path.lastIndexOf('.') + 1);
      const value = Number(valueAt(words, leaf));
      sums.set(name, (sums.get(name) ?? 0) + value);
      each.set(leaf.path, value);
    }
  }
  return Object.fromEntries([...sums, ...each]);
}
