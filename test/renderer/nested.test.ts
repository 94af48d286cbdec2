// What the window says of a guest that runs an L2: its three VMCSs, L1's pages, and L2's APIC.

import { expect, test } from 'vitest';
import { leafAt } from '../../main/sim/arena/leaves.ts';
import { isHypervisor, l1PagesOf, runsL2, verdictOf } from '../../renderer/memory/l1_pages.ts';
import { memoryMapOf, verdictsOf } from '../../renderer/memory/pointers.ts';
import { gridOf, l2Vectors } from '../../renderer/page/grid.ts';
import { l2ApicOf } from '../../renderer/page/l2_apic.ts';
import { pageOf } from '../../renderer/page/registers.ts';
import type { State } from '../../renderer/stores/position.ts';
import { whoColour } from '../../renderer/theme/who.ts';
import { stepBrief } from '../../renderer/timeline/runs.ts';
import { vmcsLines } from '../../renderer/vmcs/fields.ts';
import { relationsOf } from '../../renderer/vmcs/relation.ts';
import { recordedText, settled } from './session.ts';

/** L1's virtual-APIC page moves while L2 runs; with `kick` off nobody tells L2's CPU. */
const scenario = (profile: string, kick = true): string => `
scenario "the page moves"
profile ${profile}
${kick ? '' : 'set gpc-vcpu-kick off\nset gpc-final-check off'}
machine { vcpus 1 memory 8 nested on guest-memory managed interrupts on }
vcpu0 {
  write 0x1000 0x11e57ed0
  vmxon 0x1000
  write 0x4000 0x11e57ed0
  vmclear 0x4000
  vmptrld 0x4000
  vmwrite pin_based_vm_exec_control 0x81
  vmwrite cpu_based_vm_exec_control 0x90200080
  vmwrite secondary_vm_exec_control 0x303
  vmwrite vm_exit_controls 0x8000
  vmwrite posted_intr_nv 0x40
  vmwrite msr_bitmap 0x2000
  vmwrite ept_pointer 0x301e
  vmwrite apic_access_addr 0x5000
  vmwrite virtual_apic_page_addr 0x6000
  vmwrite posted_intr_desc_addr 0x7000
  vmlaunch
}
vcpu0.l2 { pause pause pause }
mm { migrate 6 }
schedule {
  vcpu0 to guestInstruction "PAUSE"
  mm on
  vcpu0 on
}
`;

type Session = Awaited<ReturnType<typeof recordedText>>;

/** The first state from a position on of which something is so. */
const firstWhere = async (
  { position, recordings }: Session,
  isSo: (state: State) => boolean,
  from = 0,
): Promise<State> => {
  for (let at = from; at <= recordings.steps; at++) {
    position.moveTo(at);
    await settled();
    if (isSo(position.state!)) return position.state!;
  }
  throw new Error('It is never so.');
};

const inL2 = ({ machine }: State): boolean =>
  machine.vcpu[0]!.guest_mode && machine.vcpu[0]!.non_root;

const relationIn = (state: State, name: string) => {
  const lines = vmcsLines(state.of.index, 0);
  const relations = relationsOf(state.machine, 0, state.words, lines);
  return relations[lines.findIndex((line) => line.name === name)];
};

const pageIn = (state: State, field: string) =>
  l1PagesOf(state.machine, 0).find((page) => page.field === field)!;

const verdictIn = (state: State, field: string) =>
  verdictOf(pageIn(state, field), runsL2(state.machine.vcpu[0]!));

test('a guest is a hypervisor from VMXON on', async () => {
  const session = await recordedText('moves', scenario('gpc-v1'));
  session.position.moveTo(0);
  await settled();
  expect(isHypervisor(session.position.state!.machine.vcpu[0]!)).toBe(false);
  const state = await firstWhere(session, inL2);
  expect(isHypervisor(state.machine.vcpu[0]!)).toBe(true);
});

test('each field of vmcs02 says where it comes from', async () => {
  const state = await firstWhere(await recordedText('moves', scenario('gpc-v1')), inL2);
  const lines = vmcsLines(state.of.index, 0);
  const encodings = lines.map(({ tag }) => tag);
  expect(encodings).toEqual([...encodings].sort((a, b) => a - b));
  const interruptibility = lines.find(({ name }) => name === 'guest_interruptibility');
  expect(interruptibility?.vmcs12?.path).toMatch(/guest_interruptibility_info$/);

  expect(relationIn(state, 'guest_intr_status')?.kind).toBe('equal');
  expect(relationIn(state, 'posted_intr_nv')).toEqual({
    kind: 'derived',
    text: 'POSTED_INTR_NESTED_VECTOR',
  });
  expect(relationIn(state, 'pin_based_vm_exec_control')?.text).toMatch(/^vmcs01 \| vmcs12/);
  expect(relationIn(state, 'ept_pointer')).toEqual({
    kind: 'derived',
    text: 'EPT02 of EPTP 0x301e',
  });
  expect(relationIn(state, 'vm_exit_reason')?.kind).toBe('own');
  expect(relationIn(state, 'virtual_apic_page_addr')).toEqual({
    kind: 'derived',
    text: 'GPA 0x6000',
  });
});

test('a field that changed behind the entry is told as different', async () => {
  const state = await firstWhere(await recordedText('moves', scenario('gpc-v1')), inL2);
  state.machine.vcpu[0]!.vmcs02.guest_intr_status = 0x61;
  expect(relationIn(state, 'guest_intr_status')).toEqual({
    kind: 'different',
    text: 'since the entry into L2',
  });
  state.machine.vcpu[0]!.vmcs02.pin_based_vm_exec_control.clear(7);
  expect(relationIn(state, 'pin_based_vm_exec_control')).toEqual({
    kind: 'different',
    text: 'without POSTED_INTR',
  });
  expect(relationIn(state, 'posted_intr_desc_addr')?.kind).toBe('unused');
  expect(verdictIn(state, 'posted_intr_desc_addr').kind).toBe('waiting');
});

test('vmcs02, caches and page table agree, until a page moves and nobody is told', async () => {
  const session = await recordedText('moves', scenario('gpc-v1', false));
  const running = await firstWhere(session, inL2);
  for (const { field, held } of l1PagesOf(running.machine, 0)) {
    expect([field, verdictIn(running, field).kind]).toEqual([field, 'agree']);
    expect(held.map(({ kind, valid }) => [kind, valid])).toEqual([['cache', true]]);
  }
  expect(verdictsOf(memoryMapOf(running))).toEqual([]);

  const { pfn } = pageIn(running, 'virtual_apic_page_addr');
  const moved = (state: State): boolean => state.machine.frame[pfn]!.freed;
  const stale = await firstWhere(session, moved, running.position);
  expect(verdictIn(stale, 'virtual_apic_page_addr')).toEqual({
    kind: 'conflict',
    text: `vmcs02: pfn ${pfn} was freed`,
  });
  expect(relationIn(stale, 'virtual_apic_page_addr')).toEqual({
    kind: 'stale',
    text: `pfn ${pfn} was freed`,
    idle: false,
  });
  expect(pageIn(stale, 'virtual_apic_page_addr').held[0]).toMatchObject({ valid: false });
  expect(verdictIn(stale, 'apic_access_addr').kind).toBe('agree');

  const [verdict] = verdictsOf(memoryMapOf(stale));
  expect(verdict?.pointer).toMatchObject({ holder: 'vmcs', trouble: 'freed', pfn });
  expect(verdict?.text).toMatch(/^vcpu0 vmcs02 VIRTUAL_APIC_PAGE_ADDR names pfn \d+, which was/);
});

test('the memory of an L2: its pages by name, caches, and roots by the EPTP of L1', async () => {
  const state = await firstWhere(await recordedText('moves', scenario('gpc-v1')), inL2);
  // L2 has touched nothing yet: an entry of its root stands in for an access.
  const root = state.machine.ept.find(({ eptp12 }) => eptp12 === 0x301e)!;
  Object.assign(root.spte[0]!, { present: true, gfn: 0xfee00, l1_gfn: 6, pfn: 5 });
  const { pages } = memoryMapOf(state);
  expect(pages[0]).toMatchObject({ gfn: 0xfee00, name: 'APIC-access page' });
  const page = pages.find(({ name }) => name === 'L2 virtual APIC');
  expect(page?.gfn).toBe(6);
  const names = page?.pointers.map(({ name }) => name) ?? [];
  expect(names).toEqual(expect.arrayContaining(['vcpu0 vmcs02', 'vcpu0 cache']));
  expect(names.filter((name) => /^EPT02 \d: EPTP 0x301e$/.test(name))).toHaveLength(1);
  expect(pages[0]?.pointers.some(({ name }) => name.startsWith('EPT02'))).toBe(false);
  expect(pages.find(({ gfn }) => gfn === 4)?.name).toBe('vmcs12');
});

test('before the caches a map pins the page for as long as L2 runs', async () => {
  const session = await recordedText('moves', scenario('k6.13'));
  const state = await firstWhere(session, inL2);
  const page = pageIn(state, 'virtual_apic_page_addr');
  expect(page.held).toMatchObject([{ kind: 'map', text: 'pinned', pfn: page.pfn }]);
  const pointers = memoryMapOf(state).pages.flatMap((one) => one.pointers);
  expect(pointers.find(({ path }) => path === page.held[0]?.path)).toMatchObject({
    holder: 'map',
    live: true,
  });
});

test('the caches of a context stand for those of the vCPU that uses it', async () => {
  const state = await firstWhere(await recordedText('moves', scenario('gpc-v4')), inL2);
  const { context } = state.machine.vcpu[0]!.nested;
  const page = pageIn(state, 'apic_access_addr');
  const path = `vm.nested_context[${context}].caches.apic_access_page_cache.pfn`;
  expect(page.held).toMatchObject([{ kind: 'cache', path, pfn: page.pfn, valid: true }]);
  const pointers = memoryMapOf(state).pages.flatMap((one) => one.pointers);
  expect(pointers.find((pointer) => pointer.path === path)?.name).toBe(`context ${context} cache`);
});

test('a vmcs02 that is not loaded contradicts nothing: the next entry writes it again', async () => {
  const session = await recordedText('moves', scenario('k6.13'));
  const state = await firstWhere(session, inL2);
  const { pfn } = pageIn(state, 'virtual_apic_page_addr');
  const vcpu = state.machine.vcpu[0]!;
  vcpu.nested.virtual_apic_map.mapping = 0;
  vcpu.loaded_vmcs = 0;
  for (const pte of state.machine.pte) if (pte.pfn === pfn) pte.pfn = pfn + 1;
  expect(relationIn(state, 'virtual_apic_page_addr')).toEqual({
    kind: 'stale',
    text: `GPA 0x6000 is pfn ${pfn + 1} now, not loaded`,
    idle: true,
  });
  expect(verdictIn(state, 'virtual_apic_page_addr').kind).toBe('waiting');
  expect(verdictsOf(memoryMapOf(state))).toEqual([]);
});

test('the APIC of L2 is read from the frames that vmcs02 names', async () => {
  const state = await firstWhere(await recordedText('moves', scenario('gpc-v1')), inL2);
  const { layout } = state.of.recording;
  const { frame, vcpu } = state.machine;
  const page = pageIn(state, 'virtual_apic_page_addr');
  const descriptor = pageIn(state, 'posted_intr_desc_addr');
  frame[page.pfn]!.data.setU32(0x230, 1 << 1);
  frame[page.pfn]!.data.setU32(0xa0, 0x40);
  frame[descriptor.pfn]!.data.setU32(0xc, 1 << 2);
  vcpu[0]!.vmcs02.guest_intr_status = 0x61;
  const l2 = l2ApicOf(layout, state.machine, 0)!;
  const vectors = l2Vectors(state.words, l2);
  const cells = gridOf(vectors);
  expect(cells[0x61]).toEqual({ vector: 0x61, at: ['IRR'], status: ['RVI'] });
  expect(cells[0x62]).toEqual({ vector: 0x62, at: ['PIR'], status: [] });
  expect(cells.filter(({ at }) => at.length > 0)).toHaveLength(2);
  expect(vectors.ppr).toBe(0x40);

  const row = pageOf(layout, state.of.index, 0, l2.page)[0x23]!;
  expect(row).toMatchObject({ name: 'irr 0x60–0x7f', part: 3 });
  expect(leafAt(layout, row.path)?.word).toBe(row.word);
});

test('steps of L2 have a lightness of their own on the timeline', async () => {
  const session = await recordedText('moves', scenario('gpc-v1'));
  const { shown, steps } = session.recordings;
  const levels = new Set<number>();
  for (let step = 0; step < steps; step++) {
    await shown!.windows.load(step);
    levels.add(stepBrief(shown!, step)?.level ?? -1);
  }
  expect([...levels].sort()).toEqual([0, 1, 2]);
  for (const theme of ['dark', 'light', 'contrast'] as const) {
    const colours = [0, 1, 2].map((level) => whoColour(theme, 'vcpu0', level));
    expect(new Set(colours).size).toBe(3);
  }
});
