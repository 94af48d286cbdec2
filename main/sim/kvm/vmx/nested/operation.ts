/** Into VMX operation and out of it. */
import { INVALID_GPA } from '../../../state/addresses.ts';
import { type CacheName, gpcId } from '../../../state/gpc.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { loadedVmcs } from '../../../state/vcpu.ts';
import { type Body, kvm, type Machine } from '../../../steps.ts';
import { freeGuestRoot } from '../../mmu/mmu.ts';
import { kvm_gpc_deactivate } from '../../pfncache.ts';
import { hasOwnCaches, usesCaches, usesEvmcsCache } from './caches.ts';
import { initCaches, vmx_nested_context_clear } from './context.ts';
import { nested_release_evmcs, nested_vmptr } from './evmcs.ts';
import { interceptEverything } from './msr_bitmap.ts';
import { nested_put_vmcs12_pages } from './pages.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** VPIDs of L2 come behind those of L1. */
const firstVpid02 = 0x100;

/**
 * VMXON, and the first half of KVM_SET_NESTED_STATE.
 * @omits that an allocation fails
 */
export const enter_vmx_operation = kvm(
  file,
  function* enter_vmx_operation(m: Machine, vcpu: number) {
    const { nested } = m.vcpu[vcpu]!;
    yield m.step('allocate vmcs02 and the copy of vmcs12; vmxon = true');
    nested.vpid02 = firstVpid02 + vcpu;
    interceptEverything(m, vcpu);
    if (usesCaches(m) && hasOwnCaches(m)) initCaches(m, { vcpu, context: -1 });
    nested.vmcs02_initialized = false;
    nested.vmxon = true;
  },
);

/** In the order in which the kernel gives them up. */
const released: readonly CacheName[] = [
  'pi_desc_cache',
  'virtual_apic_cache',
  'apic_access_page_cache',
  'msr_bitmap_cache',
];

/** The vCPU gives its own caches up; those of the table stay. */
function* releaseCaches(m: Machine, vcpu: number): Body<void> {
  if (!usesCaches(m) || !hasOwnCaches(m)) return;
  for (const name of released) {
    yield* kvm_gpc_deactivate(m, gpcId(m, { vcpu, context: -1 }, name));
  }
  if (!usesEvmcsCache(m)) return;
  yield* kvm_gpc_deactivate(m, gpcId(m, { vcpu, context: -1 }, 'hv_evmcs_cache'));
}

/** VMXOFF, reset, and what ends L2 without an exit to L1. L1 runs. */
export const free_nested = kvm(file, function* free_nested(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const { nested } = target;
  if (target.loaded_vmcs !== loadedVmcs.VMCS01) throw new Error('model: free_nested while L2 runs');
  if (!nested.vmxon && !nested.smm_vmxon) return;
  yield m.step('clear GET_NESTED_STATE_PAGES');
  target.requests.clear(KVM_REQ.GET_NESTED_STATE_PAGES);
  if (usesCaches(m)) yield* vmx_nested_context_clear(m, vcpu, nested_vmptr(m, vcpu));
  yield m.step('vmxon = false');
  nested.vmxon = false;
  nested.smm_vmxon = false;
  nested.vmxon_ptr = INVALID_GPA;
  yield* releaseCaches(m, vcpu);
  nested.vpid02 = 0;
  nested.posted_intr_nv = -1;
  nested.current_vmptr = INVALID_GPA;
  if (!usesCaches(m)) yield* nested_put_vmcs12_pages(m, vcpu);
  yield m.step('free the roots of L2');
  freeGuestRoot(m, vcpu);
  yield* nested_release_evmcs(m, vcpu);
});
