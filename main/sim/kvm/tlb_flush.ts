/** Flushes of the TLB that requests ask a vCPU for. */
import { KVM_REQ } from '../state/requests.ts';
import { kvm, type Machine } from '../steps.ts';
import { kvm_check_request } from './check_request.ts';
import { noteTaken } from './kvm_main.ts';
import { vmx_flush_tlb_all, vmx_flush_tlb_current, vmx_flush_tlb_guest } from './vmx/vmx.ts';

const file = 'arch/x86/kvm/x86.c';

/** Every EP4TA; without `zap-flush-all-roots` only the current one. */
export const kvm_vcpu_flush_tlb_all = kvm(
  file,
  function* kvm_vcpu_flush_tlb_all(m: Machine, vcpu: number) {
    if (!m.on('zap-flush-all-roots')) {
      yield m.step('flush the current EP4TA');
      vmx_flush_tlb_current(m, vcpu);
      return;
    }
    yield m.step('flush every EP4TA; TLB_FLUSH_CURRENT is done with it');
    vmx_flush_tlb_all(m, vcpu);
    const { requests } = m.vcpu[vcpu]!;
    if (requests.has(KVM_REQ.TLB_FLUSH_CURRENT)) {
      requests.clear(KVM_REQ.TLB_FLUSH_CURRENT);
      noteTaken(m, vcpu, KVM_REQ.TLB_FLUSH_CURRENT);
    }
  },
);

/** Handler of TLB_FLUSH_CURRENT. */
export const kvm_vcpu_flush_tlb_current = kvm(
  file,
  function* kvm_vcpu_flush_tlb_current(m: Machine, vcpu: number) {
    yield m.step('flush the current EP4TA');
    vmx_flush_tlb_current(m, vcpu);
  },
);

/** Handler of TLB_FLUSH_GUEST. */
export const kvm_vcpu_flush_tlb_guest = kvm(
  file,
  function* kvm_vcpu_flush_tlb_guest(m: Machine, vcpu: number) {
    yield m.step('flush what is tagged with the VPID');
    vmx_flush_tlb_guest(m, vcpu);
  },
);

/**
 * Flushes that were asked for the level of guest that is about to be left: behind the switch they
 * would reach the other one.
 */
export const kvm_service_local_tlb_flush_requests = kvm(
  file,
  function* kvm_service_local_tlb_flush_requests(m: Machine, vcpu: number) {
    if (yield* kvm_check_request(m, vcpu, KVM_REQ.TLB_FLUSH_CURRENT)) {
      yield* kvm_vcpu_flush_tlb_current(m, vcpu);
    }
    if (yield* kvm_check_request(m, vcpu, KVM_REQ.TLB_FLUSH_GUEST)) {
      yield* kvm_vcpu_flush_tlb_guest(m, vcpu);
    }
  },
);
