/** struct kvm_apic_map: which APIC an interrupt destination means, computed in advance. */
import { array, counter, flag, oneOf, record, s32, u32 } from '../arena/fields.ts';

export const logicalMode = {
  SW_DISABLED: 0,
  XAPIC_CLUSTER: 1,
  XAPIC_FLAT: 2,
  X2APIC: 3,
  MAP_DISABLED: 4,
} as const;

export const apicMapDirty = { CLEAN: 0, UPDATE_IN_PROGRESS: 1, DIRTY: 2 } as const;

export const PhysMapEntry = record('phys_map_entry', 'an APIC ID that is in use', {
  used: flag('the entry is in use'),
  id: u32('xAPIC or x2APIC ID'),
  vcpu: s32('index of the vCPU whose APIC answers to it'),
});

export const MapSlot = record('map_slot', 'a bit of a logical destination', {
  vcpu: s32('index of the vCPU, −1 for none'),
});

export const ApicMap = record('kvm_apic_map', 'the optimized destination map', {
  valid: flag('a map is published; clear after aliased IDs'),
  max_apic_id: u32('highest x2APIC ID that the map has room for'),
  logical_mode: oneOf(
    logicalMode,
    'the one mode that all enabled APICs share, or why there is none',
  ),
  phys_map: array(PhysMapEntry, 'phys_map', 'physical destinations'),
  xapic_flat_map: array(MapSlot, 8, 'logical destinations in flat mode, by bit'),
  xapic_cluster_map: array(MapSlot, 64, 'logical destinations in cluster mode: cluster × 4 + bit'),
  entries: counter('entries of phys_map in use'),
});
