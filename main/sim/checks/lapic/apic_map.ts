/** The destination map says of each APIC what its registers say. */
import type { ViewOf } from '../../arena/fields.ts';
import { type ApicMap, apicMapDirty, logicalMode } from '../../state/apic_map.ts';
import { APIC_DFR_FLAT, X2APIC_ENABLE } from '../../state/apicdef.ts';
import type { MachineView, VcpuView } from '../../state/machine.ts';
import type { Check } from '../check.ts';
import { hex, isPresent, violated } from '../violation.ts';

type Map = ViewOf<typeof ApicMap>;

const isX2apic = ({ apic_base }: VcpuView): boolean => (apic_base & X2APIC_ENABLE) !== 0;
const xapicIdOf = ({ apic }: VcpuView): number => apic.id >>> 24;

/** The vCPU that the map gives for an ID, −1 for none. */
const mapped = (map: Map, id: number): number => {
  for (let i = 0; i < map.entries; i++) {
    if (map.phys_map[i]!.id === id) return map.phys_map[i]!.vcpu;
  }
  return -1;
};

/** Does the map send an ID to somebody who has it? Of those that share one, any may get it. */
const idIsRight = (m: MachineView, vcpu: VcpuView): boolean => {
  const { apic_map: map, x2apic_format } = m.vm;
  const wide = isX2apic(vcpu) || (x2apic_format && vcpu.vcpu_id > 0xff);
  if (wide) return mapped(map, vcpu.vcpu_id) === vcpu.index;
  const holder = m.vcpu[mapped(map, xapicIdOf(vcpu))];
  if (holder === undefined) return false;
  return holder.index === vcpu.index || x2apic_format;
};

const modeOf = (vcpu: VcpuView): number => {
  if (isX2apic(vcpu)) return logicalMode.X2APIC;
  const flat = vcpu.apic.dfr === APIC_DFR_FLAT;
  return flat ? logicalMode.XAPIC_FLAT : logicalMode.XAPIC_CLUSTER;
};

/** Takes part in logical destinations. */
const isLogical = (vcpu: VcpuView): boolean =>
  isPresent(vcpu) && vcpu.apic.sw_enabled && vcpu.apic.ldr !== 0;

/** The mode that all APICs share: the map has it, or says that it has none. */
const modeIsRight = (m: MachineView): boolean => {
  const { logical_mode: found } = m.vm.apic_map;
  let common: number = logicalMode.SW_DISABLED;
  for (const vcpu of m.vcpu) {
    if (!isLogical(vcpu)) continue;
    if (common !== logicalMode.SW_DISABLED && common !== modeOf(vcpu)) {
      return found === logicalMode.MAP_DISABLED;
    }
    common = modeOf(vcpu);
  }
  return found === common || found === logicalMode.MAP_DISABLED;
};

/** The slot of a logical ID with one bit holds its vCPU; other IDs are not for the map. */
const slotIsRight = ({ vm: { apic_map: map } }: MachineView, vcpu: VcpuView): boolean => {
  const id = vcpu.apic.ldr >>> 24;
  const mode = map.logical_mode;
  if (mode !== logicalMode.XAPIC_FLAT && mode !== logicalMode.XAPIC_CLUSTER) return true;
  const flat = mode === logicalMode.XAPIC_FLAT;
  const mask = flat ? id : id & 0xf;
  if (mask === 0) return true;
  const bit = 31 - Math.clz32(mask);
  const slot = flat ? map.xapic_flat_map[bit]! : map.xapic_cluster_map[(id >>> 4) * 4 + bit]!;
  return slot.vcpu === vcpu.index;
};

/** What the map has wrong, undefined if nothing. */
const wrongOf = (m: MachineView): string | undefined => {
  const { apic_map: map } = m.vm;
  for (const vcpu of m.vcpu) {
    if (isPresent(vcpu) && !idIsRight(m, vcpu)) {
      return `vCPU ${vcpu.index} does not get what is sent to its ID`;
    }
  }
  if (!modeIsRight(m)) return `its logical mode is ${map.logical_mode}`;
  for (const vcpu of m.vcpu) {
    if (isLogical(vcpu) && !slotIsRight(m, vcpu)) {
      return `vCPU ${vcpu.index} does not get what is sent to LDR ${hex(vcpu.apic.ldr)}`;
    }
  }
  return undefined;
};

export const inv_apic_map_fresh: Check = {
  id: 'inv-apic-map-fresh',
  when: 'quiet',
  per: 'machine',
  summary:
    'once nobody can move, a map that is CLEAN agrees with ID, LDR, DFR and mode of every APIC; and ' +
    'its calculation never begins again more often than there are vCPUs',
  why: 'interrupts go to the vCPU that had the ID before, or to nobody',
  races: ['R59', 'R60'],
  reads: [
    'vm.apic_map.**',
    'vm.apic_map_dirty',
    'vm.x2apic_format',
    'vm.spec.map_restarts',
    'vcpu[*].vcpu_id',
    'vcpu[*].apic_base',
    'vcpu[*].apic.id',
    'vcpu[*].apic.ldr',
    'vcpu[*].apic.dfr',
    'vcpu[*].apic.sw_enabled',
  ],
  broken(m) {
    const { apic_map: map, apic_map_dirty, spec } = m.vm;
    if (spec.map_restarts > m.vcpu.length) {
      return violated('the destination map is computed again and again', 'vm.apic_map_dirty');
    }
    // Without a map every APIC is asked.
    if (apic_map_dirty !== apicMapDirty.CLEAN || !map.valid) return undefined;
    const wrong = wrongOf(m);
    if (wrong === undefined) return undefined;
    return violated(
      `the destination map is CLEAN, but ${wrong}`,
      'vm.apic_map_dirty',
      'vm.apic_map.logical_mode',
    );
  },
};
