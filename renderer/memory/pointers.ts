// Who points to which page frame: the page table, EPT roots, TLBs, the VMCS and registers.

import type { MachineView } from '../../main/sim/state/machine.ts';
import type { State } from '../stores/position.ts';
import { framesOf } from '../stores/stacks.ts';

export type Holder = 'pte' | 'ept' | 'tlb' | 'vmcs' | 'register';

export type Trouble = 'freed' | 'stale';

/** Something that names a page frame. */
export interface Pointer {
  /** the field that holds it, '' if there is none; of a register, a name that no field has */
  readonly path: string;
  readonly holder: Holder;
  readonly name: string;
  readonly detail: string;
  readonly pfn: number;
  /** false if the entry is cleared, so that nobody goes through it */
  readonly live: boolean;
  readonly trouble: Trouble | undefined;
  /** vCPU or physical CPU, −1 if it is nobody's own */
  readonly cpu: number;
}

/** A page of the guest with everything that leads to its frame. */
export interface GuestPage {
  readonly gfn: number;
  readonly name: string;
  readonly pointers: readonly Pointer[];
  /** the frame that the primary page table maps, −1 for none */
  readonly mapped: number;
}

export interface FrameBox {
  readonly pfn: number;
  readonly state: 'allocated' | 'freed' | 'free';
  readonly refcount: number;
  readonly pins: number;
  readonly tag: number;
}

export interface MemoryMap {
  readonly pages: readonly GuestPage[];
  readonly frames: readonly FrameBox[];
}

const pageSize = 4096;
const apicGfn = 0xfee00;

type Found = Omit<Pointer, 'trouble'>;

const hvaOf = (m: MachineView, gfn: number): number => {
  const slot = m.vm.memslot.find(
    (one) => one.used && gfn >= one.base_gfn && gfn < one.base_gfn + one.npages,
  );
  return slot === undefined ? -1 : slot.userspace_addr + (gfn - slot.base_gfn) * pageSize;
};

const gfnsOf = (m: MachineView): number[] => {
  const found = new Set<number>([apicGfn]);
  for (const root of m.ept) for (const spte of root.spte) if (spte.present) found.add(spte.gfn);
  for (const cpu of m.cpu) for (const entry of cpu.tlb) if (entry.valid) found.add(entry.gfn);
  return [...found].sort((a, b) => b - a);
};

const ptesOf = (m: MachineView, gfn: number): Found[] => {
  const hva = hvaOf(m, gfn);
  return m.pte.flatMap((pte, i) =>
    pte.used && pte.hva === hva
      ? [
          {
            path: `pte[${i}].pfn`,
            holder: 'pte' as const,
            name: 'primary page table',
            detail: pte.present ? 'present' : 'cleared',
            pfn: pte.pfn,
            live: pte.present,
            cpu: -1,
          },
        ]
      : [],
  );
};

const sptesOf = (m: MachineView, gfn: number): Found[] =>
  m.ept.flatMap((root, r) => {
    if (!root.used) return [];
    const entries = root.spte.flatMap((spte, i) =>
      spte.gfn === gfn && spte.pfn > 0 ? [{ index: i, spte }] : [],
    );
    const shown = entries.find((one) => one.spte.present) ?? entries[0];
    const live = shown?.spte.present === true;
    return [
      {
        path: shown === undefined ? '' : `ept[${r}].spte[${shown.index}].pfn`,
        holder: 'ept' as const,
        name: `EPT root ${r}`,
        detail: live ? 'present' : 'no entry',
        pfn: live ? (shown?.spte.pfn ?? -1) : -1,
        live,
        cpu: -1,
      },
    ];
  });

const tlbOf = (m: MachineView, gfn: number): Found[] =>
  m.cpu.flatMap((cpu, c) =>
    cpu.tlb.flatMap((entry, i) =>
      entry.valid && entry.gfn === gfn
        ? [
            {
              path: `cpu[${c}].tlb[${i}].pfn`,
              holder: 'tlb' as const,
              name: `cpu${c} TLB`,
              detail: `EPT root ${entry.ep4ta}`,
              pfn: entry.pfn,
              live: true,
              cpu: c,
            },
          ]
        : [],
    ),
  );

const vmcsOf = (m: MachineView): Found[] =>
  m.vcpu.map((vcpu, v) => {
    const address = vcpu.vmcs01.apic_access_addr;
    return {
      path: `vcpu[${v}].vmcs01.apic_access_addr`,
      holder: 'vmcs',
      name: `vcpu${v} APIC_ACCESS`,
      detail: address === 0 ? 'not set' : `0x${address.toString(16)}`,
      pfn: address === 0 ? -1 : Math.floor(address / pageSize),
      live: address !== 0,
      cpu: v,
    };
  });

/** Frame numbers that a function holds in a register across a step, told by its label. */
const registersOf = (state: State): Found[] =>
  state.of.recording.actors.flatMap((actor, a) => {
    const frame = framesOf(state.words, state.of.actors, a)[0];
    const site = frame && state.of.sites.get(frame.site);
    if (frame === undefined || site === undefined || !/apic/i.test(site.function)) return [];
    const names = [...site.label.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const pfn = frame.locals[names.indexOf('pfn')];
    if (pfn === undefined || (pfn | 0) <= 0) return [];
    const match = /^vcpu(\d+)$/.exec(actor);
    return [
      {
        path: `${actor} pfn`,
        holder: 'register' as const,
        name: `${actor} register`,
        detail: 'pfn that was looked up',
        pfn,
        live: true,
        cpu: match === null ? -1 : Number(match[1]),
      },
    ];
  });

const troubleOf = (m: MachineView, found: Found, mapped: number): Trouble | undefined => {
  if (!found.live || found.pfn < 0) return undefined;
  if (m.frame[found.pfn]?.freed === true) return 'freed';
  return mapped >= 0 && found.pfn !== mapped ? 'stale' : undefined;
};

const pageOf = (state: State, gfn: number): GuestPage => {
  const m = state.machine;
  const ptes = ptesOf(m, gfn);
  const mapped = ptes.find((one) => one.live)?.pfn ?? -1;
  const found = [
    ...ptes,
    ...sptesOf(m, gfn),
    ...tlbOf(m, gfn),
    ...(gfn === apicGfn ? [...vmcsOf(m), ...registersOf(state)] : []),
  ];
  return {
    gfn,
    mapped,
    name: gfn === apicGfn ? 'APIC-access page' : 'guest memory',
    pointers: found.map((one) => ({ ...one, trouble: troubleOf(m, one, mapped) })),
  };
};

const frameState = (frame: { freed: boolean; allocated: boolean }): FrameBox['state'] =>
  frame.freed ? 'freed' : frame.allocated ? 'allocated' : 'free';

/** The pages that somebody has a translation of, and the frames that are or were used for them. */
export const memoryMapOf = (state: State): MemoryMap => {
  const m = state.machine;
  const pages = gfnsOf(m).map((gfn) => pageOf(state, gfn));
  const named = new Set(pages.flatMap((page) => page.pointers.map((pointer) => pointer.pfn)));
  const frames = m.frame.flatMap((frame, pfn) =>
    named.has(pfn) || frame.freed
      ? [
          {
            pfn,
            state: frameState(frame),
            refcount: frame.refcount,
            pins: frame.pincount,
            tag: frame.tag,
          },
        ]
      : [],
  );
  return { pages, frames };
};

const nameInFull = (pointer: Pointer): string =>
  pointer.holder === 'vmcs' ? `vcpu${pointer.cpu} APIC_ACCESS_ADDR` : pointer.name;

/** Contradictions between the pointers to a page, one sentence each. */
export const verdictsOf = (map: MemoryMap): { text: string; pointer: Pointer }[] =>
  map.pages.flatMap((page) =>
    page.pointers.flatMap((pointer) => {
      if (pointer.trouble === undefined) return [];
      const fate = pointer.trouble === 'freed' ? ', which was freed' : '';
      const truth =
        page.mapped < 0
          ? 'the primary page table maps no frame for it'
          : `the primary page table maps pfn ${page.mapped}`;
      return [
        { pointer, text: `${nameInFull(pointer)} names pfn ${pointer.pfn}${fate}; ${truth}.` },
      ];
    }),
  );
