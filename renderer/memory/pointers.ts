// Who points to which page frame: the page table, EPT roots, TLBs, the VMCS and registers.

import { apicAccessGfn, INVALID_GPA } from '../../main/sim/state/addresses.ts';
import { type MachineView, PAGE_SIZE } from '../../main/sim/state/machine.ts';
import { namesIn } from '../step/label.ts';
import type { State } from '../stores/position.ts';
import { framesOf } from '../stores/stacks.ts';
import { nestedPages, nestedPointersTo } from './nested_pointers.ts';
import { hvaOf, type Trouble, troubleOf } from './translate.ts';

export type Holder = 'pte' | 'ept' | 'tlb' | 'vmcs' | 'cache' | 'map' | 'register';

/** Something that names a page frame. */
export interface Pointer {
  /** the field that holds it, '' if there is none; of a register, a name that no field has */
  readonly path: string;
  readonly holder: Holder;
  readonly name: string;
  /** what sentences call it, where that is not the name */
  readonly full?: string;
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

export type Found = Omit<Pointer, 'trouble'>;

type Root = MachineView['ept'][number];

const isEpt02 = (root: Root | undefined): root is Root =>
  root !== undefined && root.eptp12 !== INVALID_GPA;

/** Frame number of L1 behind one of a root's guest; an EPT02 maps frames of L2. */
const l1GfnIn = (root: Root | undefined, gfn: number): number => {
  if (!isEpt02(root)) return gfn;
  const entries = root.spte.filter((spte) => spte.gfn === gfn && spte.pfn > 0);
  return (entries.find(({ present }) => present) ?? entries[0])?.l1_gfn ?? gfn;
};

/** The APIC's page first, then those that an L2 uses, then the rest. */
const gfnsOf = (m: MachineView, named: ReadonlyMap<number, string>): number[] => {
  const found = new Set<number>();
  for (const root of m.ept)
    for (const spte of root.spte) if (spte.present) found.add(l1GfnIn(root, spte.gfn));
  for (const cpu of m.cpu)
    for (const entry of cpu.tlb) {
      if (entry.valid) found.add(l1GfnIn(m.ept[entry.ep4ta], entry.gfn));
    }
  const rest = [...found].sort((a, b) => b - a);
  return [...new Set([apicAccessGfn, ...named.keys(), ...rest])];
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
    const ofL2 = isEpt02(root);
    const entries = root.spte.flatMap((spte, i) =>
      (ofL2 ? spte.l1_gfn : spte.gfn) === gfn && spte.pfn > 0 ? [{ index: i, spte }] : [],
    );
    const shown = entries.find((one) => one.spte.present) ?? entries[0];
    // A root of L2 has few of the pages: where it never had one, it is not told of.
    if (ofL2 && shown === undefined) return [];
    const live = shown?.spte.present === true;
    const name = ofL2 ? rootName(r, root) : `EPT root ${r}`;
    return [
      {
        path: shown === undefined ? '' : `ept[${r}].spte[${shown.index}].pfn`,
        holder: 'ept' as const,
        name,
        detail: live ? 'present' : 'no entry',
        pfn: live ? (shown?.spte.pfn ?? -1) : -1,
        live,
        cpu: -1,
      },
    ];
  });

/** An EPT02 by the EPTP of L1 that it stands for. */
const rootName = (r: number, { eptp12 }: Root): string =>
  eptp12 === 0 ? `EPT02 ${r}: no EPT12` : `EPT02 ${r}: EPTP 0x${eptp12.toString(16)}`;

const tlbOf = (m: MachineView, gfn: number): Found[] =>
  m.cpu.flatMap((cpu, c) =>
    cpu.tlb.flatMap((entry, i) => {
      const root = m.ept[entry.ep4ta];
      if (!entry.valid || l1GfnIn(root, entry.gfn) !== gfn) return [];
      return [
        {
          path: `cpu[${c}].tlb[${i}].pfn`,
          holder: 'tlb' as const,
          name: isEpt02(root) ? `cpu${c} TLB, of L2` : `cpu${c} TLB`,
          detail: `EPT root ${entry.ep4ta}`,
          pfn: entry.pfn,
          live: true,
          cpu: c,
        },
      ];
    }),
  );

const vmcsOf = (m: MachineView): Found[] =>
  m.vcpu.map((vcpu, v) => {
    const address = vcpu.vmcs01.apic_access_addr;
    return {
      path: `vcpu[${v}].vmcs01.apic_access_addr`,
      holder: 'vmcs',
      name: `vcpu${v} APIC_ACCESS`,
      full: `vcpu${v} APIC_ACCESS_ADDR`,
      detail: address === 0 ? 'not set' : `0x${address.toString(16)}`,
      pfn: address === 0 ? -1 : Math.floor(address / PAGE_SIZE),
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
    const pfn = frame.locals[namesIn(site.label).indexOf('pfn')];
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

const pageOf = (state: State, gfn: number, name: string | undefined): GuestPage => {
  const m = state.machine;
  const isApic = gfn === apicAccessGfn;
  const ptes = ptesOf(m, gfn);
  const mapped = ptes.find((one) => one.live)?.pfn ?? -1;
  const found = [
    ...ptes,
    ...sptesOf(m, gfn),
    ...tlbOf(m, gfn),
    ...nestedPointersTo(m, gfn),
    ...(isApic ? [...vmcsOf(m), ...registersOf(state)] : []),
  ];
  return {
    gfn,
    mapped,
    name: name ?? (isApic ? 'APIC-access page' : 'guest memory'),
    pointers: found.map((one) => ({
      ...one,
      trouble: one.live ? troubleOf(m, one.pfn, mapped) : undefined,
    })),
  };
};

const frameState = (frame: { freed: boolean; allocated: boolean }): FrameBox['state'] =>
  frame.freed ? 'freed' : frame.allocated ? 'allocated' : 'free';

/** Frames beside their pages: with many pages the arrows are told apart better so. */
const inOrderOf = (pages: readonly GuestPage[], frames: readonly FrameBox[]): FrameBox[] => {
  const order = pages.flatMap((page) => page.pointers.map(({ pfn }) => pfn));
  const place = (pfn: number): number => {
    const first = order.indexOf(pfn);
    return first < 0 ? order.length : first;
  };
  return [...frames].sort((a, b) => place(a.pfn) - place(b.pfn));
};

/** The pages that somebody has a translation of, and the frames that are or were used for them. */
export const memoryMapOf = (state: State): MemoryMap => {
  const m = state.machine;
  const named = nestedPages(m);
  const pages = gfnsOf(m, named).map((gfn) => pageOf(state, gfn, named.get(gfn)));
  const pointed = new Set(pages.flatMap((page) => page.pointers.map((pointer) => pointer.pfn)));
  const frames = m.frame.flatMap((frame, pfn) =>
    pointed.has(pfn) || frame.freed
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
  return { pages, frames: named.size === 0 ? frames : inOrderOf(pages, frames) };
};

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
        {
          pointer,
          text: `${pointer.full ?? pointer.name} names pfn ${pointer.pfn}${fate}; ${truth}.`,
        },
      ];
    }),
  );
