/** What a vCPU does with the requests that were made of it, before it enters the guest. */
import { KVM_REQ, type RequestNumber } from '../state/requests.ts';
import { kvmExit } from '../state/vcpu.ts';
import { type Body, kvm, type Machine, type Steps } from '../steps.ts';
import { kvm_vcpu_update_apicv } from './apicv.ts';
import { kvm_check_request } from './check_request.ts';
import { process_nmi } from './inject.ts';
import { vcpu_load_eoi_exitmap, vcpu_scan_ioapic } from './lapic/eoi.ts';
import { __kvm_migrate_timers } from './lapic/timer.ts';
import { process_smi } from './smm.ts';
import {
  kvm_vcpu_flush_tlb_all,
  kvm_vcpu_flush_tlb_current,
  kvm_vcpu_flush_tlb_guest,
} from './tlb_flush.ts';
import { vmx_get_nested_state_pages } from './vmx/nested/pages.ts';
import { vmx_set_apic_access_page_addr } from './vmx/vmx.ts';

const file = 'arch/x86/kvm/x86.c';

const kvm_vcpu_reload_apic_access_page = kvm(
  file,
  function* kvm_vcpu_reload_apic_access_page(m: Machine, vcpu: number) {
    yield* vmx_set_apic_access_page_addr(m, vcpu);
    m.vcpu[vcpu]!.spec.in_reload = false;
  },
);

/** The IOAPIC of user space must hear of the EOI, if its routes still say so. */
const ioapicEoiExit = (m: Machine, vcpu: number): number => {
  const { ioapic_handled_vectors, pending_ioapic_eoi } = m.vcpu[vcpu]!;
  return ioapic_handled_vectors.has(pending_ioapic_eoi) ? kvmExit.IOAPIC_EOI : kvmExit.NONE;
};

interface Handler {
  readonly request: RequestNumber;
  /** false: user space has to be told; the handler has said why */
  readonly handle?: (m: Machine, vcpu: number) => Steps<unknown>;
  /** why user space has to be asked */
  readonly exit?: (m: Machine, vcpu: number) => number;
}

/**
 * The requests in the order in which vcpu_enter_guest looks at them. Those without a handler are
 * for what the model leaves out.
 * @omits those that nothing in the model makes
 */
const handlers: readonly Handler[] = [
  { request: KVM_REQ.GET_NESTED_STATE_PAGES, handle: vmx_get_nested_state_pages },
  { request: KVM_REQ.MIGRATE_TIMER, handle: __kvm_migrate_timers },
  { request: KVM_REQ.TLB_FLUSH, handle: kvm_vcpu_flush_tlb_all },
  { request: KVM_REQ.TLB_FLUSH_CURRENT, handle: kvm_vcpu_flush_tlb_current },
  { request: KVM_REQ.TLB_FLUSH_GUEST, handle: kvm_vcpu_flush_tlb_guest },
  { request: KVM_REQ.REPORT_TPR_ACCESS, exit: () => kvmExit.TPR_ACCESS },
  { request: KVM_REQ.SMI, handle: process_smi },
  { request: KVM_REQ.NMI, handle: process_nmi },
  { request: KVM_REQ.IOAPIC_EOI_EXIT, exit: ioapicEoiExit },
  { request: KVM_REQ.SCAN_IOAPIC, handle: vcpu_scan_ioapic },
  { request: KVM_REQ.LOAD_EOI_EXITMAP, handle: vcpu_load_eoi_exitmap },
  { request: KVM_REQ.APIC_PAGE_RELOAD, handle: kvm_vcpu_reload_apic_access_page },
  { request: KVM_REQ.APICV_UPDATE, handle: kvm_vcpu_update_apicv },
  { request: KVM_REQ.APF_READY },
];

/** True if the vCPU may go on; false if user space has to be asked something. */
export function* handleRequests(m: Machine, vcpuIndex: number): Body<boolean> {
  for (const { request, handle, exit } of handlers) {
    if (!(yield* kvm_check_request(m, vcpuIndex, request))) continue;
    const handled: unknown = handle === undefined ? true : yield* handle(m, vcpuIndex);
    if (!m.on('req-clear-before-handle')) {
      yield m.step('clear request {request}, its handler being done', request);
      m.vcpu[vcpuIndex]!.requests.clear(request);
    }
    // It has said why already.
    if (handled === false) return false;
    const reason = exit === undefined ? kvmExit.NONE : exit(m, vcpuIndex);
    if (reason === kvmExit.NONE) continue;
    m.vcpu[vcpuIndex]!.exit_reason = reason;
    return false;
  }
  return true;
}
