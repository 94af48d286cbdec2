/** Machine checks that user space injects. */
import { APIC_LVTCMCI } from '../state/apicdef.ts';
import { kvm, type Machine } from '../steps.ts';
import { kvm_apic_local_deliver } from './lapic/accept.ts';

/**
 * KVM_X86_SET_MCE of a corrected error, or one that needs no action: a CMCI tells the guest.
 * @omits the banks, and whether the guest has enabled CMCI in one; errors that raise #MC
 */
export const kvm_vcpu_x86_set_ucna = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_vcpu_x86_set_ucna(m: Machine, vcpu: number) {
    yield m.step('the bank has the error; has the APIC an entry for CMCI?');
    if (!m.vcpu[vcpu]!.lvt_cmci) return;
    yield* kvm_apic_local_deliver(m, vcpu, APIC_LVTCMCI);
  },
);
