/** Zapping guest frames for KVM's own reasons, not for the MMU notifier's. */
import { mmuLockFree, write_lock_mmu, write_unlock_mmu } from '../../host/locks.ts';
import { kvm, type Machine } from '../../steps.ts';
import { INVALID_GFN } from '../mmu_invalidate.ts';
import { kvm_mmu_invalidate_range_add, zapAndFlush } from '../mmu_notifier.ts';
import { zapAllRoots } from './mmu.ts';

/**
 * Removes a frame from all roots, so that the next access to it faults. Faults under way find the
 * sequence count changed.
 */
export const kvm_zap_gfn_range = kvm(
  'arch/x86/kvm/mmu/mmu.c',
  function* kvm_zap_gfn_range(m: Machine, gfn: number) {
    const { vm } = m;
    yield m.park('lock mmu_lock for write', mmuLockFree);
    write_lock_mmu(m);
    yield m.step('raise mmu_invalidate_in_progress and set the range');
    if (vm.mmu_invalidate_in_progress === 0) {
      vm.mmu_invalidate_range_start = INVALID_GFN;
      vm.mmu_invalidate_range_end = INVALID_GFN;
    }
    vm.mmu_invalidate_in_progress++;
    vm.spec.invalidations++;
    vm.spec.own_zaps++;
    kvm_mmu_invalidate_range_add(m, gfn);
    const ongoing = vm.spec.ongoing[m.current]!;
    ongoing.gfn = gfn;
    ongoing.active = true;
    yield* zapAndFlush(m, zapAllRoots(m, gfn));
    yield m.step('raise mmu_invalidate_seq, lower mmu_invalidate_in_progress; unlock mmu_lock');
    vm.mmu_invalidate_seq++;
    vm.mmu_invalidate_in_progress--;
    vm.spec.invalidations--;
    vm.spec.own_zaps--;
    vm.spec.ends++;
    ongoing.active = false;
    write_unlock_mmu(m);
  },
);
