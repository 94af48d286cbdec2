/** Into VMX operation and out of it. */
import { INVALID_GPA } from '../../../state/addresses.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { loadedVmcs } from '../../../state/vcpu.ts';
import { kvm, type Machine } from '../../../steps.ts';
import { freeGuestRoot } from '../../mmu/mmu.ts';
import { releasePages } from './pages.ts';

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
    nested.vmcs02_initialized = false;
    nested.vmxon = true;
  },
);

/** VMXOFF, reset, and what ends L2 without an exit to L1. L1 runs. */
export const free_nested = kvm(file, function* free_nested(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  const { nested } = target;
  if (target.loaded_vmcs !== loadedVmcs.VMCS01) throw new Error('model: free_nested while L2 runs');
  if (!nested.vmxon && !nested.smm_vmxon) return;
  yield m.step('clear GET_NESTED_STATE_PAGES; vmxon = false');
  target.requests.clear(KVM_REQ.GET_NESTED_STATE_PAGES);
  nested.vmxon = false;
  nested.smm_vmxon = false;
  nested.vmxon_ptr = INVALID_GPA;
  yield* releasePages(m, vcpu);
  nested.vpid02 = 0;
  nested.posted_intr_nv = -1;
  nested.current_vmptr = INVALID_GPA;
  yield m.step('free the roots of L2');
  freeGuestRoot(m, vcpu);
});
