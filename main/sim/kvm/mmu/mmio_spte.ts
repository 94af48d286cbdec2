/**
 * Entries of EPT02 for addresses behind which L1 has no memory: the next access of L2 is an EPT
 * misconfiguration, and KVM finds out without mmu_lock that it has to be emulated.
 */
import { local_irq_disable, local_irq_enable } from '../../host/irq.ts';
import { mmuLockFree, write_lock_mmu, write_unlock_mmu } from '../../host/locks.ts';
import { mapMmioSpte, spteOf } from '../../hw/ept.ts';
import { INVALID_GPA } from '../../state/addresses.ts';
import { PAGE_SIZE } from '../../state/machine.ts';
import { vcpuMode } from '../../state/vcpu.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { setMode } from '../kvm_main.ts';
import { RET_PF } from './ret_pf.ts';

const file = 'arch/x86/kvm/mmu/mmu.c';

/** Leaves an entry for an access of L2 that is emulated. @kvm mmu.c: mark_mmio_spte */
export function* installMmioSpte(m: Machine, vcpu: number, gfn: number): Body<void> {
  yield m.park('lock mmu_lock for write', mmuLockFree);
  write_lock_mmu(m);
  const { root } = m.vcpu[vcpu]!.guest_mmu;
  yield m.step('gfn {gfn}: an entry that says "no memory"', gfn);
  if (!m.ept[root]!.invalid) mapMmioSpte(m, root, gfn, m.vm.memslots_generation);
  yield m.step('unlock mmu_lock');
  write_unlock_mmu(m);
}

/**
 * Whoever frees a table waits in kvm_flush_remote_tlbs for those who read. The mode is stored with
 * a full barrier: no entry is read before it.
 */
const walk_shadow_page_lockless_begin = kvm(
  file,
  function* walk_shadow_page_lockless_begin(m: Machine, vcpu: number) {
    yield m.step('interrupts off');
    local_irq_disable(m, m.vcpu[vcpu]!.cpu);
    yield m.step('mode = READING_SHADOW_PAGE_TABLES');
    setMode(m, vcpu, vcpuMode.READING_SHADOW_PAGE_TABLES);
  },
);

const walk_shadow_page_lockless_end = kvm(
  file,
  function* walk_shadow_page_lockless_end(m: Machine, vcpu: number) {
    yield m.step('mode = OUTSIDE_GUEST_MODE');
    setMode(m, vcpu, vcpuMode.OUTSIDE_GUEST_MODE);
    m.vcpu[vcpu]!.spec.walks++;
    yield m.step('interrupts on: pending ones are taken');
    local_irq_enable(m, m.vcpu[vcpu]!.cpu);
  },
);

const NO_ENTRY = -1;

/** The generation in the entry of an address, −1 if there is no such entry. */
const get_mmio_spte = kvm(file, function* get_mmio_spte(m: Machine, vcpu: number, gfn: number) {
  yield* walk_shadow_page_lockless_begin(m, vcpu);
  const { root } = m.vcpu[vcpu]!.guest_mmu;
  const { spte: table } = m.ept[root]!;
  yield m.step('root {root}: the entry that leads to the table of gfn {gfn}', root, gfn);
  let generation = NO_ENTRY;
  if (table.some(({ present }) => present)) {
    yield m.step('the entry of gfn {gfn} in that table', gfn);
    const entry = table[spteOf(m, root, gfn)];
    if (entry?.mmio === true) generation = entry.generation;
  }
  yield* walk_shadow_page_lockless_end(m, vcpu);
  return generation;
});

/** Memslots are being changed: what an entry says may not be true any more. */
const isOdd = (generation: number): boolean => generation % 2 === 1;

/**
 * What becomes of an EPT misconfiguration of L2: one of RET_PF_*.
 * @omits the same for L1: EPT01 has no such entries, and its tables are walked under RCU
 */
export const handle_mmio_page_fault = kvm(
  file,
  function* handle_mmio_page_fault(m: Machine, vcpu: number, gpa: number) {
    const generation: number = yield* get_mmio_spte(m, vcpu, Math.floor(gpa / PAGE_SIZE));
    // Somebody has zapped the table: L2 faults on the address again.
    if (generation === NO_ENTRY) return RET_PF.RETRY;
    yield m.step('check_mmio_spte: is it of this generation of memslots?');
    const { memslots_generation: now } = m.vm;
    return generation === now && !isOdd(now) ? RET_PF.EMULATE : RET_PF.INVALID;
  },
);

/** Takes the tables off every EPT02, under mmu_lock held for write; gives a bit for each root. */
export function* unlinkTables(m: Machine): Body<number> {
  let unlinked = 0;
  for (const { index, used, eptp12, spte: table } of m.ept) {
    if (!used || eptp12 === INVALID_GPA || !table.some(({ present }) => present)) continue;
    yield m.step('root {root}: take its table off', index);
    for (const entry of table) if (entry.present) entry.present = false;
    unlinked |= 1 << index;
  }
  return unlinked;
}

/**
 * Gives the tables back, once every vCPU that may read them has been waited for.
 * @kvm arch/x86/kvm/mmu/mmu.c: kvm_mmu_commit_zap_page
 */
export function* freeTables(m: Machine, unlinked: number): Body<void> {
  for (const root of m.ept) {
    if ((unlinked & (1 << root.index)) === 0) continue;
    yield m.step('root {root}: free the table', root.index);
    root.tables_freed++;
  }
}
