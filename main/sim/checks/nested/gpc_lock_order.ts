/** Who waits for whom around a gfn_to_pfn_cache. */
import { gpcFields, gpcOf } from '../../state/gpc.ts';
import type { MachineView } from '../../state/machine.ts';
import { wantedLock } from '../../state/vm.ts';
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

type Held = MachineView['vm']['spec']['held'][number];

const readsCache = ({ read_first, read_second }: Held, id: number): boolean =>
  read_first === id + 1 || read_second === id + 1;

/** Does `actor` go on only after `other` has done something? */
const waitsFor = (m: MachineView, actor: number, other: number): boolean => {
  const { held } = m.vm.spec;
  const { wants, wanted, looks_again } = held[actor]!;
  if (looks_again && held[other]!.notifying > 0) return true;
  if (wants === wantedLock.NOTHING) return false;
  if (wants === wantedLock.GPC_LIST) return m.vm.gpc_lock === other + 1;
  const { lock, refresh_lock } = gpcOf(m, wanted);
  if (wants === wantedLock.GPC_REFRESH) return refresh_lock === other + 1;
  // Who repeats a look-up has let go of its cache before it waits for anybody.
  if (lock.writer === other + 1) return !held[other]!.looks_again;
  return wants === wantedLock.GPC_WRITE && readsCache(held[other]!, wanted);
};

/** The actors of a cycle of waits that `first` is part of; none if there is no such cycle. */
const cycleFrom = (m: MachineView, first: number, path: readonly number[]): readonly number[] => {
  const last = path[path.length - 1] ?? first;
  for (let next = 0; next < m.vm.spec.held.length; next++) {
    if (!waitsFor(m, last, next)) continue;
    if (next === first) return path;
    // Smaller numbers have had their turn as the first.
    if (next < first || path.includes(next)) continue;
    const cycle = cycleFrom(m, first, [...path, next]);
    if (cycle.length > 0) return cycle;
  }
  return [];
};

export const inv_gpc_lock_order: Check = {
  id: 'inv-gpc-lock-order',
  when: 'step',
  per: 'machine',
  summary:
    'no cycle of actors wait for each other: for the lock or the mutex of a cache, for the list of ' +
    'caches, or for mn_active_invalidate_count to become 0',
  why: 'none of them goes on: the invalidation, and with it all reclaim, stands still',
  races: ['R79'],
  reads: [
    'vm.spec.held[*].read_first',
    'vm.spec.held[*].read_second',
    'vm.spec.held[*].wants',
    'vm.spec.held[*].wanted',
    'vm.spec.held[*].looks_again',
    'vm.spec.held[*].notifying',
    'vm.gpc_lock',
    ...gpcFields('refresh_lock'),
    ...gpcFields('lock.writer'),
  ],
  broken(m) {
    for (let first = 0; first < m.vm.spec.held.length; first++) {
      const cycle = cycleFrom(m, first, [first]);
      if (cycle.length === 0) continue;
      return violated(
        `actors ${cycle.join(', ')} wait for each other in a circle`,
        ...cycle.map((actor) => `vm.spec.held[${actor}].wants`),
      );
    }
    return undefined;
  },
};
