/** VMX: the APIC-access page, TLB flushes, posted interrupts, exits. */

import { put_page } from '../../host/frames.ts';
import { mmuLockReadable, read_lock_mmu, read_unlock_mmu } from '../../host/locks.ts';
import { hva_to_pfn } from '../../host/page_table.ts';
import { inveptAllContext, inveptSingleContext, invvpidSingleContext } from '../../hw/tlb.ts';
import { currentVmcs } from '../../hw/vmcs.ts';
import { APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, apicAccessGfn } from '../../state/addresses.ts';
import { pfn_to_hpa } from '../../state/machine.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { secondaryControl } from '../../state/vmcs.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_make_request } from '../kvm_main.ts';
import { activeMmu, gfn_to_memslot, hvaInSlot } from '../mmu/mmu.ts';
import { mmu_invalidate_retry_gfn } from '../mmu_invalidate.ts';
import { kvm_release_page_clean } from '../pages.ts';
import { canWriteVmcs01 } from './apicv.ts';
import { guardVmcs01, vmcsOfL1 } from './vmcs01.ts';

const file = 'arch/x86/kvm/vmx/vmx.c';

/** INVEPT of every context. @kvm arch/x86/kvm/vmx/vmx.c: vmx_flush_tlb_all */
export const vmx_flush_tlb_all = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.stat.tlb_flush_all++;
  inveptAllContext(m, m.vcpu[vcpu]!.cpu);
};

/** INVEPT of the active root's EP4TA only. @kvm arch/x86/kvm/vmx/vmx.c: vmx_flush_tlb_current */
export const vmx_flush_tlb_current = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.stat.tlb_flush_current++;
  const { root } = activeMmu(m, vcpu);
  if (root >= 0) inveptSingleContext(m, m.vcpu[vcpu]!.cpu, root);
};

/** INVVPID: every translation with the VPID of the guest. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_flush_tlb_guest = (m: Machine, vcpu: number): void => {
  const { cpu } = m.vcpu[vcpu]!;
  invvpidSingleContext(m, cpu, currentVmcs(m, vcpu).virtual_processor_id);
};

function* writeApicAccessAddr(m: Machine, vcpu: number, pfn: number): Body<void> {
  yield m.step('VMWRITE APIC_ACCESS_ADDR = pfn {pfn}', pfn);
  vmcsOfL1(m, vcpu).apic_access_addr = pfn_to_hpa(pfn);
}

/** As it was before 2023: no look at the invalidation. */
function* reloadUnchecked(m: Machine, vcpuIndex: number): Body<void> {
  yield m.step('gfn_to_page: find the memslot of 0xfee00');
  const slot = gfn_to_memslot(m, apicAccessGfn);
  // A look-up by gfn refuses a slot that is going.
  if (slot < 0 || m.vm.memslot[slot]!.invalid) return;
  const pfn = yield* hva_to_pfn(m, hvaInSlot(m, slot, apicAccessGfn));
  if (pfn < 0) return;
  yield* guardVmcs01(m, vcpuIndex, writeApicAccessAddr(m, vcpuIndex, pfn));
  if (m.on('reload-flush-current')) {
    yield m.step('flush the current EP4TA');
    vmx_flush_tlb_current(m, vcpuIndex);
  }
  yield m.step('put_page: release pfn {pfn}', pfn);
  put_page(m, pfn);
}

const privateSlot = (m: Machine): number =>
  m.vm.memslot.findIndex((slot) => slot.used && slot.id === APIC_ACCESS_PAGE_PRIVATE_MEMSLOT);

/** The notifier makes KVM load the page again if it moves: nothing keeps it where it is. */
function* release(m: Machine, pfn: number): Body<void> {
  yield m.step('release pfn {pfn}', pfn);
  kvm_release_page_clean(m, pfn);
}

/** With the retry check of 878940b33d76: an invalidation under way asks again instead. */
function* reloadChecked(m: Machine, vcpuIndex: number): Body<void> {
  yield m.step('find the private memslot by its id');
  const slot = privateSlot(m);
  if (slot < 0 || (m.on('slot-invalid-test') && m.vm.memslot[slot]!.invalid)) return;
  yield m.step('sample mmu_invalidate_seq');
  const seq = m.vm.mmu_invalidate_seq;
  const pfn = yield* hva_to_pfn(m, hvaInSlot(m, slot, apicAccessGfn));
  // The slot is gone for good: whoever makes it again asks for a reload.
  if (pfn < 0) return;

  yield m.park('lock mmu_lock for read', mmuLockReadable);
  read_lock_mmu(m);
  yield m.step('mmu_invalidate_retry_gfn: was it invalidated since?');
  const retry = mmu_invalidate_retry_gfn(m, seq, apicAccessGfn);
  if (retry) {
    yield m.step('invalidated: make APIC_PAGE_RELOAD again');
    kvm_make_request(m, vcpuIndex, KVM_REQ.APIC_PAGE_RELOAD);
  } else {
    yield* guardVmcs01(m, vcpuIndex, writeApicAccessAddr(m, vcpuIndex, pfn));
  }
  // 775bc098657b removed the flush; a retry never reached it.
  const flush = m.on('reload-flush-current');
  if (!flush) yield* release(m, pfn);
  yield m.step('unlock mmu_lock');
  read_unlock_mmu(m);
  if (!flush) return;
  if (!retry) {
    yield m.step('flush the current EP4TA');
    vmx_flush_tlb_current(m, vcpuIndex);
  }
  yield* release(m, pfn);
}

/**
 * Puts the host-physical address of the APIC-access page into vmcs01. The four historic forms are
 * `apic-reload-retry` × `reload-flush-current`, and where the request comes from is
 * `apic-reload-hook`.
 * @kvm arch/x86/kvm/vmx/vmx.c
 * @omits that before v5.8 the look-up was in
 * kvm_vcpu_reload_apic_access_page, without a test of the control
 */
export const vmx_set_apic_access_page_addr = kvm(
  file,
  function* vmx_set_apic_access_page_addr(m: Machine, vcpuIndex: number) {
    const vcpu = m.vcpu[vcpuIndex]!;
    vcpu.stat.reloads++;
    if (!canWriteVmcs01(m, vcpuIndex)) {
      if (m.switch('vmcs01-update-mode') === 'drop') return;
      yield m.step('L2 runs: reload when it ends');
      vcpu.nested.reload_vmcs01_apic_access_page = true;
      return;
    }
    yield m.step('is "virtualize APIC accesses" on?');
    const { secondary_vm_exec_control: secondary } = vcpu.vmcs01;
    if (!secondary.has(secondaryControl.VIRTUALIZE_APIC_ACCESSES)) return;
    if (m.on('apic-reload-retry')) yield* reloadChecked(m, vcpuIndex);
    else yield* reloadUnchecked(m, vcpuIndex);
  },
);
