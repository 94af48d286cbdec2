/** The modelled computer as one record, and its layout for given dimensions. */
import { array, layOut, nested, type RecordType, record, type ViewOf } from '../arena/fields.ts';
import { Actor } from './actor.ts';
import { limits } from './limits.ts';
import { EptRoot, Frame, Pte } from './memory.ts';
import { contextsPerVcpu } from './nested.ts';
import { Cpu, Vcpu } from './vcpu.ts';
import { Vm } from './vm.ts';

export const MachineState = record('machine', 'the modelled computer', {
  vm: nested(Vm, 'the virtual machine'),
  vcpu: array(Vcpu, 'vcpus', 'the virtual CPUs'),
  cpu: array(Cpu, 'vcpus', 'the physical CPUs: vCPU i runs on CPU i'),
  ept: array(EptRoot, limits.eptRoots, 'extended page tables'),
  pte: array(Pte, 'pages', 'the primary page table of the VMM process'),
  actor: array(Actor, 'actors', 'what acts by itself'),
  frame: array(Frame, 'frames', 'page frames of the host'),
});

export type VcpuView = ViewOf<typeof Vcpu>;
export type MachineView = ViewOf<typeof MachineState>;

export interface MachineDimensions {
  readonly [name: string]: number;
  readonly vcpus: number;
  readonly actors: number;
  readonly frames: number;
  /** pages of guest memory */
  readonly memoryPages: number;
}

const layouts = new Map<string, RecordType>();

/** The layout for given dimensions; equal dimensions give the same object. */
export const layoutOf = (dimensions: MachineDimensions): RecordType => {
  const { vcpus, actors, frames, memoryPages } = dimensions;
  const key = `${vcpus} ${actors} ${frames} ${memoryPages}`;
  const known = layouts.get(key);
  if (known !== undefined) return known;
  const layout = layOut(MachineState, {
    ...dimensions,
    phys_map: 2 * vcpus,
    contexts: contextsPerVcpu * vcpus,
    // Guest memory, the APIC-access page, and room for what was mapped elsewhere.
    pages: memoryPages + 4,
  });
  layouts.set(key, layout);
  return layout;
};

export const PAGE_SIZE = 4096;
/** Frame 0 is never handed out, so that an address 0 is never a page. */
export const firstFrame = 1;

/** Host-physical address of a frame, and back. */
export const pfn_to_hpa = (pfn: number): number => pfn * PAGE_SIZE;
export const hpa_to_pfn = (hpa: number): number => Math.floor(hpa / PAGE_SIZE);
