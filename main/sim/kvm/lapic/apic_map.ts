/** The destination map: computed when an ID or a mode changes, published for all senders. */
import type { ViewOf } from '../../arena/fields.ts';
import { apicMapLockFree } from '../../host/locks.ts';
import { type ApicMap, apicMapDirty, logicalMode } from '../../state/apic_map.ts';
import { APIC_DFR_FLAT } from '../../state/apicdef.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { apicvInhibitReason } from '../../state/vm.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_set_or_clear_apicv_inhibit } from '../apicv.ts';
import { kvm_make_all_cpus_request } from '../kvm_main.ts';
import { apic_x2apic_mode, kvm_apic_hw_enabled, kvm_apic_sw_enabled } from './priority.ts';

const file = 'arch/x86/kvm/lapic.c';

type Map = ViewOf<typeof ApicMap>;

/** The map has room for every xAPIC ID. */
const maxIdAlways = 0xff;
const slotsOfLogicalDest = 16;

/** Whoever changes what the map is made of says so; any thread may, without a lock. */
export const markApicMapDirty = (m: Machine): void => {
  m.vm.apic_map_dirty = apicMapDirty.DIRTY;
};

/** Index of the vCPU that answers to an ID, −1 for none. */
export const physMapOf = (map: Map, id: number): number => {
  for (let i = 0; i < map.entries; i++) {
    const entry = map.phys_map[i]!;
    if (entry.id === id) return entry.vcpu;
  }
  return -1;
};

const setPhysMap = (map: Map, id: number, vcpu: number): void => {
  const entry = map.phys_map.find((one, i) => i === map.entries || one.id === id)!;
  if (entry.index === map.entries) map.entries++;
  entry.used = true;
  entry.id = id;
  entry.vcpu = vcpu;
};

/** A logical destination names up to 16 slots of a table; each holds a vCPU, or none. */
interface LogicalDest {
  /** the slots that the destination names, as a mask */
  mask(map: Map, dest: number): number;
  /** index of the vCPU in a slot, −1 for none */
  slot(map: Map, dest: number, bit: number): number;
}

const clusterOf = (dest: number): number => ((dest >>> 4) & 0xf) * 4;
/** x2APIC: the LDR follows from the ID, so that the physical map serves for both. */
const firstIdOf = (dest: number): number => (dest >>> 16) * 16;

const logicalDests: Readonly<Record<number, LogicalDest>> = {
  [logicalMode.SW_DISABLED]: { mask: () => 0, slot: () => -1 },
  [logicalMode.X2APIC]: {
    mask: ({ max_apic_id }, dest) => {
      const size = Math.min(max_apic_id - firstIdOf(dest) + 1, slotsOfLogicalDest);
      return size <= 0 ? 0 : dest & (0xffff >>> (slotsOfLogicalDest - size));
    },
    slot: (map, dest, bit) => physMapOf(map, firstIdOf(dest) + bit),
  },
  [logicalMode.XAPIC_FLAT]: {
    mask: (_, dest) => dest & 0xff,
    slot: (map, _, bit) => map.xapic_flat_map[bit]!.vcpu,
  },
  [logicalMode.XAPIC_CLUSTER]: {
    mask: (_, dest) => dest & 0xf,
    slot: (map, dest, bit) => map.xapic_cluster_map[clusterOf(dest) + bit]!.vcpu,
  },
};

/**
 * How the map answers for logical destinations, undefined where it does not.
 * @kvm arch/x86/kvm/lapic.c: kvm_apic_map_get_logical_dest
 */
export const logicalDestOf = (map: Map): LogicalDest | undefined => logicalDests[map.logical_mode];

/** What came of adding a vCPU to the map. */
const ADDED = 0;
const ALIASED = 1;
const TOO_LARGE = 2;

/** xAPIC IDs are 8 bits of a vCPU's own, unless the guest has changed them. */
const idMismatch = (m: Machine, vcpu: number): boolean => {
  const { apic, vcpu_id } = m.vcpu[vcpu]!;
  if (!kvm_apic_hw_enabled(m, vcpu) || apic_x2apic_mode(m, vcpu)) return false;
  return apic.id >>> 24 !== (vcpu_id & 0xff);
};

/**
 * Adds a vCPU's physical IDs. Two vCPUs with one ID both get its interrupts, which the map cannot
 * say; user space that uses 32-bit IDs has accepted that only the first does.
 * @kvm arch/x86/kvm/lapic.c
 */
const kvm_recalculate_phys_map = (m: Machine, vcpu: number): number => {
  const { apic_map_new: map, x2apic_format } = m.vm;
  const { apic, vcpu_id } = m.vcpu[vcpu]!;
  const x2apic = apic_x2apic_mode(m, vcpu);
  const xapicId = apic.id >>> 24;
  if (vcpu_id > map.max_apic_id) return TOO_LARGE;
  if (!x2apic_format) {
    const id = x2apic ? vcpu_id : xapicId;
    if (physMapOf(map, id) >= 0) return ALIASED;
    setPhysMap(map, id, vcpu);
    return ADDED;
  }
  if (x2apic || vcpu_id > 0xff) setPhysMap(map, vcpu_id, vcpu);
  if (!x2apic && physMapOf(map, xapicId) < 0) setPhysMap(map, xapicId, vcpu);
  return ADDED;
};

/** @kvm arch/x86/kvm/lapic.c: kvm_recalculate_logical_map */
const logicalModeOf = (m: Machine, vcpu: number): number => {
  if (apic_x2apic_mode(m, vcpu)) return logicalMode.X2APIC;
  const flat = m.vcpu[vcpu]!.apic.dfr === APIC_DFR_FLAT;
  return flat ? logicalMode.XAPIC_FLAT : logicalMode.XAPIC_CLUSTER;
};

const isOneBit = (mask: number): boolean => (mask & (mask - 1)) === 0;

/** Adds a vCPU's logical ID; one that the map cannot hold ends its use for logical mode. */
const kvm_recalculate_logical_map = (m: Machine, vcpu: number): void => {
  const { apic_map_new: map } = m.vm;
  const { ldr } = m.vcpu[vcpu]!.apic;
  if (map.logical_mode === logicalMode.MAP_DISABLED) return;
  if (!kvm_apic_sw_enabled(m, vcpu) || ldr === 0) return;
  const mode = logicalModeOf(m, vcpu);
  if (map.logical_mode === logicalMode.SW_DISABLED) map.logical_mode = mode;
  else if (map.logical_mode !== mode) map.logical_mode = logicalMode.MAP_DISABLED;
  if (map.logical_mode !== mode || mode === logicalMode.X2APIC) return;

  const id = ldr >>> 24;
  const mask = logicalDests[mode]!.mask(map, id);
  if (mask === 0) return;
  const bit = 31 - Math.clz32(mask);
  const slot =
    mode === logicalMode.XAPIC_FLAT
      ? map.xapic_flat_map[bit]!
      : map.xapic_cluster_map[clusterOf(id) + bit]!;
  if (isOneBit(mask) && slot.vcpu < 0) slot.vcpu = vcpu;
  else map.logical_mode = logicalMode.MAP_DISABLED;
};

/** Adds a vCPU that is present; one that cannot be in the map makes it useless. */
const addVcpu = (m: Machine, vcpu: number): number => {
  if (!kvm_apic_hw_enabled(m, vcpu)) return ADDED;
  const outcome = kvm_recalculate_phys_map(m, vcpu);
  if (outcome === ADDED) kvm_recalculate_logical_map(m, vcpu);
  else m.vm.apic_map_new.valid = false;
  return outcome;
};

const clearMap = (map: Map, maxId: number): void => {
  map.valid = true;
  map.max_apic_id = maxId;
  map.logical_mode = logicalMode.SW_DISABLED;
  map.entries = 0;
  for (const entry of map.phys_map) if (entry.used) entry.used = false;
  for (const slot of map.xapic_flat_map) slot.vcpu = -1;
  for (const slot of map.xapic_cluster_map) slot.vcpu = -1;
};

const copyMap = (to: Map, from: Map): void => {
  to.valid = from.valid;
  to.max_apic_id = from.max_apic_id;
  to.logical_mode = from.logical_mode;
  to.entries = from.entries;
  for (const { index, used, id, vcpu } of from.phys_map) {
    Object.assign(to.phys_map[index]!, { used, id, vcpu });
  }
  for (const { index, vcpu } of from.xapic_flat_map) to.xapic_flat_map[index]!.vcpu = vcpu;
  for (const { index, vcpu } of from.xapic_cluster_map) to.xapic_cluster_map[index]!.vcpu = vcpu;
};

/** What one calculation found. */
interface Found {
  /** ADDED, or why there is no map */
  readonly outcome: number;
  /** a guest has changed an xAPIC ID */
  readonly mismatch: boolean;
}

/** The highest ID that the map needs room for; registers are read without a lock. */
function* highestId(m: Machine, atLeast: number): Body<number> {
  let max = atLeast;
  for (const { index, vcpu_id } of m.vcpu) {
    yield m.step('is vCPU {vcpu} present? the highest ID is {max} so far', index, max);
    if (kvm_apic_hw_enabled(m, index)) max = Math.max(max, vcpu_id);
  }
  return max;
}

/** Fills the new map, vCPU by vCPU, until one of them cannot be in it. */
function* fillMap(m: Machine, maxId: number): Body<Found> {
  yield m.step('begin a map for IDs up to {max}', maxId);
  clearMap(m.vm.apic_map_new, maxId);
  let mismatch = false;
  for (const { index } of m.vcpu) {
    yield m.step('add vCPU {vcpu}; an ID was changed: {mismatch}', index, mismatch ? 1 : 0);
    mismatch ||= idMismatch(m, index);
    const outcome = addVcpu(m, index);
    if (outcome !== ADDED) return { outcome, mismatch };
  }
  return { outcome: ADDED, mismatch };
}

/**
 * The map of a VM that is just made, where nobody interleaves. IDs that would inhibit APICv leave
 * it DIRTY.
 */
export const settleApicMap = (m: Machine): void => {
  const { vm } = m;
  clearMap(vm.apic_map_new, Math.max(maxIdAlways, ...m.vcpu.map(({ vcpu_id }) => vcpu_id)));
  const clean = m.vcpu.every(({ index }) => !idMismatch(m, index) && addVcpu(m, index) === ADDED);
  if (!clean) return;
  copyMap(vm.apic_map, vm.apic_map_new);
  vm.apic_map_dirty = apicMapDirty.CLEAN;
};

/** What the map cannot say, the hardware cannot either. */
function* publishInhibits(m: Machine, mismatch: boolean): Body<void> {
  const { valid, logical_mode } = m.vm.apic_map_new;
  const logicalAliased = !valid || logical_mode === logicalMode.MAP_DISABLED;
  const { PHYSICAL_ID_ALIASED, LOGICAL_ID_ALIASED, APIC_ID_MODIFIED } = apicvInhibitReason;
  yield* kvm_set_or_clear_apicv_inhibit(m, PHYSICAL_ID_ALIASED, !valid);
  yield* kvm_set_or_clear_apicv_inhibit(m, LOGICAL_ID_ALIASED, logicalAliased);
  yield* kvm_set_or_clear_apicv_inhibit(m, APIC_ID_MODIFIED, mismatch);
}

/** Takes the map on itself; false if somebody else has computed it meanwhile. */
function* beginUpdate(m: Machine): Body<boolean> {
  yield m.step('apic_map_dirty: DIRTY becomes UPDATE_IN_PROGRESS');
  if (m.vm.apic_map_dirty === apicMapDirty.CLEAN) return false;
  m.vm.apic_map_dirty = apicMapDirty.UPDATE_IN_PROGRESS;
  return true;
}

/** A change that was made meanwhile leaves the map DIRTY: whoever made it computes it again. */
function* endUpdate(m: Machine): Body<void> {
  yield m.step('apic_map_dirty: UPDATE_IN_PROGRESS becomes CLEAN');
  const untouched = m.vm.apic_map_dirty === apicMapDirty.UPDATE_IN_PROGRESS;
  if (untouched || !m.on('apic-map-dirty-protocol')) m.vm.apic_map_dirty = apicMapDirty.CLEAN;
}

/** Bookkeeping of the checks: the most that one calculation has needed. */
const noteRestart = ({ vm: { spec } }: Machine, restarts: number): void => {
  if (restarts > spec.map_restarts) spec.map_restarts = restarts;
};

/** Computes the map again if anything that it is made of has changed, and publishes it. */
export const kvm_recalculate_apic_map = kvm(file, function* kvm_recalculate_apic_map(m: Machine) {
  const { vm } = m;
  yield m.step('is the map CLEAN?');
  if (vm.apic_map_dirty === apicMapDirty.CLEAN) return;
  yield m.park('take apic_map_lock', apicMapLockFree);
  vm.apic_map_lock = m.current + 1;
  let maxId = maxIdAlways;
  let found: Found;
  let restarts = 0;
  do {
    if (!(yield* beginUpdate(m))) {
      yield m.step('release apic_map_lock: somebody else has computed it');
      vm.apic_map_lock = 0;
      return;
    }
    // A vCPU that enables its APIC between the two loops needs more room: once more. The room
    // only grows, or one that toggles its APIC could go on with that for ever.
    const atLeast = m.on('apic-map-maxid-monotonic') ? maxId : maxIdAlways;
    maxId = yield* highestId(m, atLeast);
    found = yield* fillMap(m, maxId);
    if (found.outcome === TOO_LARGE) noteRestart(m, ++restarts);
  } while (found.outcome === TOO_LARGE);
  yield* publishInhibits(m, found.mismatch);
  yield m.step('publish the new map');
  copyMap(vm.apic_map, vm.apic_map_new);
  yield* endUpdate(m);
  yield m.step('release apic_map_lock');
  vm.apic_map_lock = 0;
  yield* kvm_make_all_cpus_request(m, KVM_REQ.SCAN_IOAPIC);
});
